"""Claims about the report's pictures: neighbours are the nearest by cosine, of other images; views made in
different ways are shown apart, in the order of their numbers; features without any spread are drawn too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from solo_intl.experiments.report import maps, pictures
from solo_intl.experiments.report.data import Comparison, Entry, Run

CONFIG = """
augmentations: [{num_crops: 12}]
data: {dataset: made, augment: %s}
"""
COUNT = 12


def trained(folder: Path, name: str, augment: str) -> Entry:
    """A run whose n-th view is a plain grey of 20 n."""
    part = folder / name
    part.mkdir()
    (part / "config.yaml").write_text(CONFIG % augment)
    views = {f"view{n}": np.full((1, 8, 8, 3), 20 * n, np.uint8) for n in range(COUNT)}
    np.savez(part / "views.npz", index=np.array([0]), **views)
    return Entry(name, [Run(part, 0, {"knn": 1.0, "linear": 1.0}, {}, (part,), {})])


def test_views_by_their_making_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "open_split", lambda *_: [(Image.new("RGB", (8, 8)), 0)])
    entries = [trained(tmp_path, *item) for item in (("a", "stock"), ("b", "batched"), ("c", "stock"))]
    figures = pictures.draw_views(Comparison(tmp_path, {}, entries, []), tmp_path)
    assert [figure.title for figure in figures] == ["a, c", "b"]
    assert ["augment=batched" in figure.caption for figure in figures] == [False, True]
    side, gap, edge = pictures.SIDE + 2 * pictures.EDGE, pictures.GAP, pictures.EDGE
    with Image.open(figures[0].file) as sheet:
        row = np.asarray(sheet.convert("L"))[side // 2]
    shown = [int(row[n * (side + gap) + 3 * gap + edge + 5]) for n in range(1, COUNT + 1)]
    assert shown == [20 * n for n in range(COUNT)]


def test_features_that_are_all_equal_have_a_map(tmp_path: Path):
    """A dead network's: t-SNE would divide by their deviation, and never come back."""
    run = Run(tmp_path, 0, {"knn": 1.0, "linear": 1.0}, {}, (), {})
    vars(run)["features"] = {"x": np.full((20, 4), 0.5, np.float16), "y": np.arange(20) % 3}
    (drawn,) = maps.draw_maps(Comparison(tmp_path, {}, [Entry("a", [run])], []), tmp_path)
    assert drawn.caption.endswith("All features are equal: no t-SNE.")
    run.features["x"][:10] = 0.25, 1, 0, 0
    (drawn,) = maps.draw_maps(Comparison(tmp_path, {}, [Entry("a", [run])], []), tmp_path)
    assert "t-SNE" not in drawn.caption


def test_neighbours_are_the_nearest():
    angles = np.deg2rad([0, 3, 50, 90, 93, 180, 181, 270, 275, 300])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 11)[:, None]  # lengths don't count
    queries, found = pictures.nearest(
        {"x": x.astype(np.float16), "y": np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])}
    )
    assert queries.tolist() == [0, 3, 5, 7]
    assert found[:, 0].tolist() == [1, 4, 6, 8]
    assert all(query not in row for query, row in zip(queries, found, strict=True))
