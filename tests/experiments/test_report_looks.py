"""Claims about the looks of methods in the report's figures: colours of one line style stay apart for
readers without red, green or blue cones, from the axes' grey too, and are readable on the page's cards; no
two methods look alike in grey; lines keep marks; a title may hold any character."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from solo_intl.experiments.report import pictures, spectra
from solo_intl.experiments.report.data import Entry, Run
from solo_intl.experiments.report.page import TEMPLATES
from solo_intl.experiments.report.style import COLOURS, HIGHLIGHT, OURS, RC, Styles, canvas, finish

NAMES = ["intl", "intl_ema", "intl_third", *(f"method{i:02}" for i in range(19))]
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
VISIONS = {
    "normal": np.eye(3),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]]
)
APART = 15.0  # CIELAB; a difference of 2.3 is the least that is noticed side by side


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB under D65 of linear RGB."""
    xyz = XYZ @ rgb.clip(0, 1) / XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG's ratio."""
    least, most = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (most + 0.05) / (least + 0.05)


def test_lab_is_right():
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.01)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert contrast("#000000", "#ffffff") == pytest.approx(21, abs=0.01)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_one_line_style_stay_apart(vision: str):
    looks = [Styles(NAMES).of(name) for name in NAMES]
    seen = [lab(VISIONS[vision] @ linear(look["color"])) for look in looks]
    for i, j in combinations(range(len(looks)), 2):
        if looks[i]["linestyle"] == looks[j]["linestyle"]:
            assert np.linalg.norm(seen[i] - seen[j]) > APART, (NAMES[i], NAMES[j])


def test_neighbours_in_the_list_have_different_lines():
    lines = [Styles(NAMES).of(name)["linestyle"] for name in NAMES if not name.startswith("intl")]
    assert all(len(set(lines[i : i + 5])) == 5 for i in range(len(lines) - 4))


@pytest.mark.parametrize("vision", VISIONS)
def test_the_last_colour_is_nobody_elses(vision: str):
    mine, *others = (
        lab(VISIONS[vision] @ linear(colour))
        for colour in (COLOURS[-1], *COLOURS[:-1], *OURS, RC["grid.color"])
    )
    least = APART if vision == "tritan" else 2 * APART  # one reader in ten thousand is without blue cones
    assert min(np.linalg.norm(mine - other) for other in others) > least


def test_readable_on_the_cards():
    light, dark = re.findall(r"--card: (#\w{6})", (TEMPLATES / "report.css").read_text())
    for colour in (*COLOURS, *OURS):
        assert contrast(colour, dark) >= 3, colour
    for colour in (HIGHLIGHT, OURS[1], COLOURS[-1]):
        assert contrast(colour, light) >= 3, colour


def test_eigenvalues_keep_sparse_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run(tmp_path, 0, {}, {}, (), {})
    vars(run)["spectrum"] = {"eigenvalues": np.geomspace(1, 1e-3, 64)[None]}
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    spectra._last([Entry(name, [run]) for name in ("a", "b")], Styles(["a", "b"]), tmp_path)
    monkeypatch.undo()
    lines = drawn[0].axes[0].lines
    plt.close(drawn[0])
    assert len({line.get_marker() for line in lines} - {"None", "none", "", " "}) == 2
    assert all(4 <= len(line.get_markevery()) <= 8 for line in lines)


def test_a_title_may_hold_any_character(tmp_path: Path):
    title = """ours "b" <i>'s & more"""
    with canvas() as (figure, axes):
        axes.plot([0, 1], label=title)
        axes.legend()
        drawn = finish(figure, tmp_path, "drawn", title, "")
    shown = pictures._picture(Image.new("RGBA", (4, 4)), tmp_path, "shown", title, "")
    tags: list[tuple[str, dict[str, str | None]]] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))  # type: ignore[method-assign]
    reader.feed(drawn.inline + shown.inline)
    assert [found["aria-label"] for tag, found in tags if tag == "svg"] == [title]
    assert [found["alt"] for tag, found in tags if tag == "img"] == [title]
    assert "i" not in {tag for tag, _ in tags}


def test_looks_differ():
    names = ["intl", "intl_ema", *(f"method{i}" for i in range(19))]
    looks = [Styles(names).of(name) for name in names]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == len(names)
    assert len({(look["color"], look["marker"]) for look in looks}) == len(names)
    assert len({(str(look["linestyle"]), look["marker"]) for look in looks}) == len(names)  # printed in grey
