"""2-D maps of the features that each method left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from solo_intl.experiments.report.data import Arrays, Comparison, Run
from solo_intl.experiments.report.style import COLOURS, HIGHLIGHT, INK, MARKERS, Figure, canvas, finish

IMAGES = 500  # t-SNE's time grows faster than their number
CLASSES = 10  # the most that colours and marks can tell apart
_PCA_FIRST = 50  # components that t-SNE starts from, as its authors advise
_SPREAD = 1e-6  # of features at length 1: less than float16 tells apart
_PALETTE = (HIGHLIGHT, *COLOURS[:5], INK, COLOURS[5])


def draw_maps(comparison: Comparison, folder: Path) -> list[Figure]:
    """One figure for each entry whose features were kept, of its first seed."""
    figures = []
    for entry in sorted(comparison.entries, key=lambda entry: (entry.trained, entry.name)):
        run = next((run for run in entry.runs if run.features), None)
        if run is not None and len(run.features["x"]) >= 10:
            figures.append(_map(entry.name, run, folder))
    return figures


def project(features: Arrays) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """PCA and t-SNE of at most 500 images' features at length 1: each [k, 2], and their labels [k].

    Features that are all equal are one point, and have no t-SNE: it would divide by their deviation.
    """
    chosen = np.unique(np.linspace(0, len(features["x"]) - 1, IMAGES).round().astype(int))
    x = normalize(features["x"][chosen].astype(np.float64))
    if np.ptp(x, axis=0).max() < _SPREAD:
        return {"PCA": np.zeros((len(x), 2))}, features["y"][chosen]
    components = PCA(min(_PCA_FIRST, *x.shape), random_state=0).fit_transform(x)
    perplexity = min(30.0, (len(x) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
    return {"PCA": components[:, :2], "t-SNE": tsne}, features["y"][chosen]


def _map(name: str, run: Run, folder: Path) -> Figure:
    projections, labels = project(run.features)
    classes = np.unique(labels)
    shown = classes[:CLASSES]
    with canvas(1, 2, height=2.6) as (figure, panels):
        for axes in panels[len(projections) :]:
            axes.set_axis_off()
        for axes, (kind, points) in zip(panels, projections.items(), strict=False):
            axes.scatter(*points[~np.isin(labels, shown)].T, s=5, color="#8a8a8a", alpha=0.4, rasterized=True)
            for i, label in enumerate(shown):
                axes.scatter(
                    *points[labels == label].T,
                    s=11,
                    color=_PALETTE[i % len(_PALETTE)],
                    marker=MARKERS[i],
                    linewidths=0,
                    alpha=0.85,
                    label=str(label),
                    rasterized=True,
                )
            axes.set_title(kind, fontsize=8)
            axes.set(xticks=(), yticks=())
            axes.grid(visible=False)
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            texts,
            loc="outside lower center",
            ncols=CLASSES,
            fontsize=7,
            handletextpad=0,
            columnspacing=0.8,
        )
        more = (
            f"; the first {CLASSES} of {len(classes)} classes, the others grey"
            if len(classes) > CLASSES
            else ""
        )
        equal = "" if "t-SNE" in projections else " All features are equal: no t-SNE."
        caption = f"{len(labels)} validation images by class{more}; seed {run.seed}.{equal}"
        return finish(figure, folder, f"map-{name.replace(' ', '-')}", name, caption)
