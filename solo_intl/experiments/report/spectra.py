"""Figures of what the spectrum monitor saw."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from solo_intl.engine.monitor import collapse
from solo_intl.experiments.report.data import Comparison, Entry, Points, Run, mean_points
from solo_intl.experiments.report.style import COLOURS, Figure, Styles, canvas, finish, legend_below

_MEASURES = {
    "effective_rank": (
        "Effective rank",
        "effective rank of one batch",
        "How many dimensions the embeddings use (RankMe). It cannot exceed the smaller of batch and width.",
    ),
    "log10_inverse_condition": (
        "Condition of the spectrum",
        "log10(least / greatest eigenvalue)",
        "0 is a uniform spectrum; far below it, some directions carry almost nothing.",
    ),
    "trace_excess": (
        "Trace loss over the attainable floor",
        "trace excess, one view",
        "What INTL's trace loss would find in each method's embeddings, less the least it could be: 0 for a "
        "uniform spectrum. Only INTL minimises it.",
    ),
    "std": (
        "Spread of the normalised embeddings",
        "std x sqrt(width)",
        "1 when the embeddings point in all directions alike, 0 when all are equal (complete collapse).",
    ),
}


def draw_spectra(comparison: Comparison, folder: Path) -> list[Figure]:
    """Every figure of this module; none where no run was monitored."""
    watched = [entry for entry in comparison.methods if any(run.spectrum for run in entry.runs)]
    if not watched:
        return []
    styles = Styles([entry.name for entry in comparison.methods])
    figures = [_measure(name, watched, styles, folder) for name in _MEASURES]
    return [*figures, _last(watched, styles, folder), _over_training(watched, folder)]


def alarms(comparison: Comparison) -> str:
    """Whose runs the monitor warned of, why, and how many were still so when last measured."""
    said = []
    for entry in comparison.methods:
        warned = {
            run.seed: found
            for run in entry.runs
            if (found := (run.final.get("spectrum") or {}).get("warned"))
        }
        if warned:
            seeds = f"{len(warned)} of {len(entry.runs)} seeds, first at " if len(entry.runs) > 1 else ""
            first = min(warned.values(), key=lambda found: found["step"])
            last = [_collapsed_at_last(run) for run in entry.runs if run.seed in warned]
            known = [found for found in last if found is not None]
            still = f"; still so at the last measurement: {sum(known)} of {len(known)}" if known else ""
            said.append(f"{entry.name} ({seeds}step {first['step'] + 1}: {first['reason']}{still})")
    return f"The monitor warned of collapse in {'; '.join(said)}." if said else ""


def _collapsed_at_last(run: Run) -> bool | None:
    """Unknown where the run folder was removed, or what was last measured came before the warning."""
    names = ("eigenvalues", "mean_cosine", "direction_share")
    spectrum = run.spectrum
    if (
        not spectrum.keys() >= {*names, "step"}
        or spectrum["step"][-1] < run.final["spectrum"]["warned"]["step"]
    ):
        return None
    return collapse(*(spectrum[name][-1] for name in names)) is not None


def _measure(name: str, watched: list[Entry], styles: Styles, folder: Path) -> Figure:
    title, ylabel, caption = _MEASURES[name]
    with canvas(height=2.9) as (figure, axes):
        for entry in watched:
            points = mean_points([_points(run.spectrum, name) for run in entry.runs if run.spectrum])
            if points:
                every = max(1, len(points) // 8)
                axes.plot(
                    *zip(*points, strict=True), label=entry.name, markevery=every, **styles.of(entry.name)
                )
        axes.set(xlabel="step", ylabel=ylabel)
        legend_below(figure, axes)
        return finish(
            figure, folder, f"spectrum-{name.replace('_', '-')}", title, f"{caption} Mean over seeds."
        )


def _points(spectrum: dict[str, np.ndarray], name: str) -> Points:
    return [(float(step) + 1, float(y)) for step, y in zip(spectrum["step"], spectrum[name], strict=True)]


def _last(watched: list[Entry], styles: Styles, folder: Path) -> Figure:
    with canvas(height=2.9) as (figure, axes):
        for entry in watched:
            run = next(run for run in entry.runs if run.spectrum)
            values = run.spectrum["eigenvalues"][-1]
            x = np.arange(1, len(values) + 1)
            marked = np.unique(np.geomspace(1, len(x), 8).round().astype(int)) - 1  # evenly on this axis
            axes.plot(
                x, _drawable(values), label=entry.name, markevery=marked.tolist(), **styles.of(entry.name)
            )
        axes.set(
            xscale="log", yscale="log", xlabel="eigenvalue, from the greatest", ylabel="share of the trace"
        )
        legend_below(figure, axes)
        caption = (
            "Covariance of the embeddings of one batch at the last measurement, first seed. A flat line is a "
            "uniform spectrum; a cliff is a dimensional collapse."
        )
        return finish(figure, folder, "eigenvalues", "Eigenvalues at the end of training", caption)


def _over_training(watched: list[Entry], folder: Path) -> Figure:
    """One panel a method, from light to dark as training goes on."""
    columns = 3
    lines = math.ceil(len(watched) / columns)
    with canvas(lines, columns, height=1.5 * lines, squeeze=False, sharex=True, sharey=True) as (
        figure,
        grid,
    ):
        for axes in grid.flat[len(watched) :]:
            axes.set_axis_off()
        for axes, entry in zip(grid.flat, watched, strict=False):
            spectrum = next(run for run in entry.runs if run.spectrum).spectrum
            moments = np.unique(np.linspace(0, len(spectrum["step"]) - 1, 5).round().astype(int))
            for i, moment in enumerate(moments):
                values = spectrum["eigenvalues"][moment]
                axes.plot(
                    np.arange(1, len(values) + 1),
                    _drawable(values),
                    color=COLOURS[0],
                    alpha=0.2 + 0.8 * (i + 1) / len(moments),
                    lw=0.6 + 1.2 * (i + 1) / len(moments),
                )
            axes.set(xscale="log", yscale="log")
            axes.set_title(entry.name, fontsize=8)
            axes.tick_params(labelsize=7)
        for axes in grid.flat[: len(watched)][
            -columns:
        ]:  # the last of each column, though its row be not full
            axes.tick_params(labelbottom=True)
        figure.supxlabel("eigenvalue, from the greatest", fontsize=8)
        figure.supylabel("share of the trace", fontsize=8)
        caption = "Five moments from the first step (thin, pale) to the last (thick, dark); first seed."
        return finish(figure, folder, "eigenvalues-over-training", "Eigenvalues over training", caption)


def _drawable(values: np.ndarray) -> np.ndarray:
    """Without the zeros that a logarithmic axis cannot show."""
    return np.where(values > 1e-12, values, np.nan)
