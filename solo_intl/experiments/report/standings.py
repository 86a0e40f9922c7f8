"""Figures of the ranking's rows: accuracy, accuracy by learning rate, and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from solo_intl.experiments.grid import split_row
from solo_intl.experiments.report.data import Comparison, Points
from solo_intl.experiments.report.ranking import Row
from solo_intl.experiments.report.style import (
    COLOURS,
    HIGHLIGHT,
    INK,
    Figure,
    Styles,
    canvas,
    finish,
    legend_below,
)


def draw_ranking(rows: Sequence[Row], folder: Path) -> list[Figure]:
    """Accuracy by method, and by learning rate where methods had several."""
    several = len({split_row(row.entry.name)[1] for row in rows if row.entry.trained}) > 1
    return [ranking(rows, folder), *([over_rates(rows, folder)] if several else [])]


def draw_cost(comparison: Comparison, rows: Sequence[Row], folder: Path) -> list[Figure]:
    """Cost of the methods; none where none has finished."""
    trained = [row for row in rows if row.entry.trained]
    return [cost(trained, folder, sharing(comparison))] if trained else []


def ranking(rows: Sequence[Row], folder: Path) -> Figure:
    """Means with standard deviations, and each seed as a small mark."""
    with canvas(1, 2, height=1.0 + 0.24 * len(rows), sharey=True) as (figure, panels):
        for axes, key, label in zip(panels, ("knn", "linear"), ("5-NN", "linear"), strict=True):
            for y, row in enumerate(reversed(rows)):
                ours = row.entry.name.startswith("intl")
                colour = HIGHLIGHT if ours else INK if row.entry.trained else "#8a8a8a"
                value, spread = getattr(row, key)
                axes.errorbar(value, y, xerr=spread, fmt="D" if ours else "o", color=colour, ms=5, capsize=3)
                seeds = [run.accuracies[key] for run in row.entry.runs]
                axes.plot(seeds, [y] * len(seeds), "|", color=colour, alpha=0.7)
            axes.set_xlabel(f"{label}: top-1 accuracy (%)")
        panels[0].set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
        caption = (
            "Mean over seeds, standard deviation as a bar, seeds as small strokes; diamonds: INTL; grey: "
            "what a method has to beat."
        )
        return finish(figure, folder, "ranking", "Accuracy by method", caption)


def over_rates(rows: Sequence[Row], folder: Path) -> Figure:
    """Linear accuracy of each method against the multiple of its own learning rate."""
    methods: dict[str, Points] = {}
    for row in rows:
        if row.entry.trained:
            file, rate = split_row(row.entry.name)
            methods.setdefault(file, []).append((rate, row.linear[0]))
    styles = Styles(list(methods))
    with canvas(height=2.9) as (figure, axes):
        for name, points in sorted(methods.items()):
            axes.plot(*zip(*sorted(points), strict=True), label=name, **styles.of(name))
        axes.set(xscale="log", xlabel="multiple of its own learning rate", ylabel="linear top-1 (%)")
        axes.set_xticks(ticks := sorted({rate for points in methods.values() for rate, _ in points}))
        axes.set_xticklabels([f"{rate:g}" for rate in ticks])
        axes.minorticks_off()
        legend_below(figure, axes)
        caption = (
            "Mean over seeds. The best of several rates has been picked by the figures that it is judged by: "
            "compare it with the best of another method's, not with one rate of it."
        )
        return finish(figure, folder, "ranking-rates", "Accuracy by learning rate", caption)


def cost(rows: Sequence[Row], folder: Path, remark: str = "") -> Figure:
    """Seconds an epoch and peak memory."""
    rows = sorted(rows, key=lambda row: (row.seconds_per_epoch or (0.0,))[0], reverse=True)
    with canvas(1, 2, height=0.9 + 0.22 * len(rows), sharey=True) as (figure, panels):
        seconds, spread = zip(*(row.seconds_per_epoch or (math.nan, None) for row in rows), strict=True)
        memory = [math.nan if row.memory is None else row.memory for row in rows]
        bounds = [value or 0.0 for value in spread] if any(spread) else None  # one seed has none
        colours = [HIGHLIGHT if row.entry.name.startswith("intl") else COLOURS[0] for row in rows]
        for axes, values, error, label in zip(
            panels, (seconds, memory), (bounds, None), ("seconds an epoch", "peak memory (GiB)"), strict=True
        ):
            bars = axes.barh(range(len(rows)), values, color=colours, height=0.7, xerr=error, ecolor=INK)
            axes.bar_label(bars, fmt="{:.3g}", fontsize=8, padding=2)
            axes.margins(x=0.18)
            axes.set_xlabel(label)
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(rows)), [row.entry.name for row in rows])
        caption = (
            "Mean over seeds of the training time, validation included, standard deviation as a line; the "
            "highest memory of any seed: of the GPU where there is one, else of the whole process, libraries "
            f"included.{remark}"
        )
        return finish(figure, folder, "cost", "Cost", caption)


def sharing(comparison: Comparison) -> str:
    """A remark on times if any cell shared the processor."""
    runs = [run for entry in comparison.methods for run in entry.runs]
    jobs, threads = (sorted({getattr(run, key) for run in runs}) for key in ("jobs", "threads"))
    if not jobs or jobs[-1] == 1:
        return ""
    each = f"{from_to(threads)} thread{'s' if threads[-1] > 1 else ''} a cell"
    sharers = f"{from_to(jobs)} cells at a time, and whatever else ran, shared the processor, {each}"
    return f" {sharers}: times compare only roughly."


def from_to(values: Sequence[int]) -> str:
    """Sorted numbers in words.

    Example:
        >>> from_to([2, 3, 8]), from_to([2])
        ('2 to 8', '2')
    """
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
