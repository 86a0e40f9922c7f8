"""How figures look: colours that survive colour blindness, with line styles and markers beside them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

INK = "#1a1b1c"  # stands for the page's own text colour, which the page puts in its place
# Okabe and Ito, with a violet for the yellow that no white page shows; vermilion is kept for INTL
HIGHLIGHT = "#D55E00"
OURS = (HIGHLIGHT, "#B34700", "#995C2E")  # INTL and its variants: one hue; their lines tell them apart
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#6048FC")
# no two of the three counts share a factor: who shares one look differs in the others, in grey print too
LINES = ("-", "--", "-.", ":", (0, (5, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
WIDTH = 4.7  # inches: what a phone's column shows without making the text too small to read
RC: Any = {
    "font.size": 9,
    "axes.edgecolor": "#8a8a8a",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.25,
    "axes.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class Figure:
    """A figure on the page: its file beside the report, the picture inline, and what it shows."""

    name: str
    title: str
    caption: str
    inline: str  # an <svg> element
    file: Path


@dataclass(frozen=True)
class Styles:
    """One look a method, the same in every figure.

    Args:
        names: every method of the comparison; INTL's variants are highlighted.
    """

    names: Sequence[str]

    def of(self, name: str) -> dict[str, Any]:
        """Keyword arguments for ``plot``.

        Example:
            >>> Styles(["byol", "intl"]).of("intl")["color"] == HIGHLIGHT
            True
        """
        ours = sorted(n for n in self.names if n.startswith("intl"))
        if name in ours:
            i = ours.index(name)
            look = {"color": OURS[i % len(OURS)], "linewidth": 2.2, "zorder": 3}
        else:
            place = sorted(set(self.names) - set(ours)).index(name)
            i = place + max(1, len(ours))  # INTL's line is the whole one
            look = {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.3, "zorder": 2}
        marks = {
            "linestyle": LINES[i % len(LINES)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 6 if name in ours else 4.5,
        }
        return {**look, **marks}


@contextmanager
def canvas(
    rows: int = 1, columns: int = 1, height: float = 3.4, **settings: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes in the report's look; height in inches."""
    with plt.rc_context(RC):
        figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", **settings)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def whole_epochs(axes: Any) -> None:
    """Ticks of the horizontal axis at whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def legend_below(figure: Any, axes: Any, columns: int = 3) -> None:
    """One legend under the axes, the figure made taller by what it needs."""
    handles, labels = axes.get_legend_handles_labels()
    lines = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * lines)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        handlelength=2.6,
        columnspacing=1,
    )


def finish(figure: Any, folder: Path, name: str, title: str, caption: str) -> Figure:
    """Write the PNG, black on white, and give the SVG for the page, in the page's own text colour."""
    file = folder / f"{name}.png"
    figure.savefig(file, dpi=150, facecolor="white")
    text = io.StringIO()
    with plt.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, dpi=120, metadata={"Date": None})
    return Figure(name, title, caption, _inline(text.getvalue(), title), file)


def _inline(svg: str, title: str) -> str:
    body = svg[svg.index("<svg") :].replace(INK, "currentColor")
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # several figures share a page, and nothing points at groups
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body))
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
