"""How the analyses draw. Colours survive colour blindness (Okabe and Ito) and come with different dashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def panels(
    rows: int, columns: int, *, width: float = 3.4, height: float = 2.8, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes [rows, columns]."""
    return plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows),
        layout="constrained",
        squeeze=False,
        **options,
    )


def write_figure(figure: Any, stem: Path) -> None:
    """Write STEM.png and STEM.svg, the same bytes for the same figure, and release it."""
    with plt.rc_context({"svg.hashsalt": "solo_intl", "svg.fonttype": "none"}):
        figure.savefig(stem.with_suffix(".png"), dpi=110)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
