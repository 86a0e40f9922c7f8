"""Strips of real images: nearest neighbours, and the views that training saw."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from sklearn.preprocessing import normalize

from solo_intl.data import ImageDataset, open_split
from solo_intl.experiments.report.data import Arrays, Comparison, Run
from solo_intl.experiments.report.style import COLOURS, HIGHLIGHT, Figure

QUERIES, NEIGHBOURS = 6, 7
SIDE, EDGE, GAP = 48, 3, 4  # pixels: a picture, its frame, what lies between two
SAME, OTHER = COLOURS[0], HIGHLIGHT


def draw_neighbours(comparison: Comparison, folder: Path) -> list[Figure]:
    """The nearest validation images of a few others, for each entry whose features were kept.

    Raises:
        UserError: the data set is not on this machine.
    """
    data = _config(comparison)
    figures: list[Figure] = []
    images: ImageDataset | None = None
    for entry in sorted(comparison.entries, key=lambda entry: (entry.trained, entry.name)):
        run = next((run for run in entry.runs if run.features), None)
        if run is None or data is None or len(run.features["x"]) <= NEIGHBOURS:
            continue
        images = images or open_split(data, "val")
        caption = f"Seed {run.seed}. Left: the image asked for."
        name = f"neighbours-{entry.name.replace(' ', '-')}"
        figures.append(_picture(_strip(run.features, images), folder, name, entry.name, caption))
    return figures


def nearest(features: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Which images are asked for [q], of different classes, and their nearest others by cosine [q, k]."""
    labels = features["y"]
    firsts = np.unique(labels, return_index=True)[1]
    spread = np.linspace(0, len(firsts) - 1, min(QUERIES, len(firsts))).round().astype(int)
    queries = firsts[spread]
    x = normalize(features["x"].astype(np.float32))
    similar = x[queries] @ x.T
    similar[np.arange(len(queries)), queries] = -np.inf
    return queries, np.argsort(-similar, axis=1)[:, :NEIGHBOURS]


def _strip(features: Arrays, images: ImageDataset) -> Image.Image:
    queries, found = nearest(features)
    index, labels = features["index"], features["y"]
    rows: list[list[Image.Image]] = []
    for query, neighbours in zip(queries, found, strict=True):
        rows.append([_framed(images[int(index[query])][0], None)])
        for i in neighbours:
            rows[-1].append(_framed(images[int(index[i])][0], bool(labels[i] == labels[query])))
    return _grid(rows, first_apart=True)


def draw_views(comparison: Comparison, folder: Path) -> list[Figure]:
    """The first images of training and the views a method was given, one figure for each way of making them.

    Raises:
        UserError: the data set is not on this machine.
    """
    groups: dict[tuple[str, str], list[tuple[str, Run]]] = {}
    for entry in comparison.methods:
        run = next((run for run in entry.runs if run.views), None)
        if run is not None:
            cfg: Any = OmegaConf.create(run.config)
            made = OmegaConf.to_yaml(cfg.augmentations)
            groups.setdefault((cfg.data.get("augment", "stock"), made), []).append((entry.name, run))
    figures = []
    for i, ((augment, _), members) in enumerate(groups.items()):
        run = members[0][1]
        numbered = sorted((name for name in run.views if name != "index"), key=_number)
        views = [run.views[name] for name in numbered]
        originals = open_split(OmegaConf.create(run.config).data, "train")
        rows = [
            [
                _framed(originals[int(n)][0], None),
                *(_framed(Image.fromarray(view[k]), None) for view in views),
            ]
            for k, n in enumerate(run.views["index"])
        ]
        caption = f"Left: the image; then the {len(views)} views that {members[0][0]} was given of it first"
        caption += f" (data.augment={augment})."
        title = ", ".join(name for name, _ in members)
        figures.append(_picture(_grid(rows, first_apart=True), folder, f"views-{i + 1}", title, caption))
    return figures


def _number(name: str) -> int:
    return int(name.removeprefix("view"))


def _config(comparison: Comparison) -> Any:
    for entry in comparison.methods:
        for run in entry.runs:
            return OmegaConf.create(run.config).data
    return None


def _framed(image: Image.Image, same: bool | None) -> Image.Image:
    """A picture in a frame; another class is told by colour and by a corner, which grey print shows too."""
    sharp = max(image.size) < SIDE
    fitted = image.resize((SIDE, SIDE), Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)
    side = SIDE + 2 * EDGE
    framed = Image.new("RGBA", (side, side), SAME if same else OTHER if same is False else "#8a8a8a")
    framed.paste(fitted, (EDGE, EDGE))
    if same is False:
        corner = side // 3
        ImageDraw.Draw(framed).polygon([(side - corner, 0), (side, 0), (side, corner)], fill=OTHER)
    return framed


def _grid(rows: Sequence[Sequence[Image.Image]], first_apart: bool) -> Image.Image:
    side, apart = SIDE + 2 * EDGE, 3 * GAP if first_apart else 0
    width = max(len(row) for row in rows) * (side + GAP) - GAP + apart
    sheet = Image.new("RGBA", (width, len(rows) * (side + GAP) - GAP), (0, 0, 0, 0))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (side + GAP) + (apart if x else 0), y * (side + GAP)))
    return sheet


def _picture(sheet: Image.Image, folder: Path, name: str, title: str, caption: str) -> Figure:
    file = folder / f"{name}.png"
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    file.write_bytes(content.getvalue())
    source = base64.b64encode(content.getvalue()).decode()
    size = f'width="{sheet.width}" height="{sheet.height}"'
    inline = f'<img alt="{html.escape(title)}" {size} src="data:image/png;base64,{source}">'
    return Figure(name, title, caption, inline, file)
