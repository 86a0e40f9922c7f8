"""Figures of accuracy, cost and losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_intl.experiments.report.data import Comparison, Entry, Points, Run, mean_points
from solo_intl.experiments.report.ranking import Row
from solo_intl.experiments.report.style import (
    HIGHLIGHT,
    INK,
    Figure,
    Styles,
    canvas,
    finish,
    legend_below,
    whole_epochs,
)

# what every method logs besides its own loss
_SHARED = ("class_loss", "acc1", "acc5", "intl_loss", "trace", "trace_excess", "invariance")


def draw_curves(comparison: Comparison, rows: Sequence[Row], folder: Path) -> list[Figure]:
    """Every figure of this module that the comparison has numbers for."""
    styles = Styles([entry.name for entry in comparison.methods])
    figures = [ranking(rows, folder)]
    if any(e.mean_series(online(comparison)) for e in comparison.methods):
        figures += [accuracy_epochs(comparison, styles, folder), accuracy_time(comparison, styles, folder)]
    if comparison.methods:
        figures.append(cost([row for row in rows if row.entry.trained], folder, _shared(comparison)))
    intl = [entry for entry in comparison.methods if entry.mean_series("train_trace_excess_epoch")]
    figures += [intl_parts(entry, folder) for entry in intl]
    own = {e.name: found for e in comparison.methods if (found := own_losses(e))}
    return [*figures, losses(own, styles, folder)] if own else figures


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


def online(comparison: Comparison) -> str:
    """The column of the online classifier's accuracy: on training images where validation was too rare."""
    runs = [run for entry in comparison.methods for run in entry.runs]
    counts = [(len(run.series("val_acc1")), len(run.series("train_acc1_epoch"))) for run in runs]
    return "val_acc1" if all(2 * val >= train for val, train in counts) else "train_acc1_epoch"


def accuracy_epochs(comparison: Comparison, styles: Styles, folder: Path) -> Figure:
    """Online accuracy against epochs."""
    column = online(comparison)
    curves = {entry.name: entry.mean_series(column) for entry in comparison.methods}
    images = (
        "Validation accuracy of the online classifier, a linear layer trained beside the method on augmented "
        "images"
        if column == "val_acc1"
        else "Accuracy of the online classifier, a linear layer trained beside the method, on the augmented "
        "training images of each epoch: validation came in fewer than half of the epochs"
    )
    after = "mean over seeds. The ranking's figures are measured afterwards, on frozen features."
    part = _validated(comparison) if column == "val_acc1" else ""
    title, caption = "Accuracy over epochs", f"{images}{part}; {after}"
    return _lines(curves, styles, folder, "accuracy-epochs", title, caption, "epoch", "online top-1 (%)")


def _validated(comparison: Comparison) -> str:
    """How many validation images an epoch's accuracy is of, where limit_val_batches cuts them."""
    configs: list[Any] = [OmegaConf.create(run.config) for entry in comparison.methods for run in entry.runs]
    cut = [cfg for cfg in configs if type(cfg.get("limit_val_batches")) is int]  # a float is a share of them
    counts = sorted({cfg.limit_val_batches * cfg.optimizer.batch_size for cfg in cut})
    if not counts:
        return ""
    where = "" if len(cut) == len(configs) else " in some cells"
    return f", of at most {_range(counts)} validation images{where} (limit_val_batches x batch)"


def accuracy_time(comparison: Comparison, styles: Styles, folder: Path) -> Figure:
    """Online accuracy against minutes of training."""
    curves: dict[str, Points] = {}
    for entry in comparison.methods:
        accuracy = dict(entry.mean_series(online(comparison)))
        seconds = dict(mean_points([list(run.times.items()) for run in entry.runs]))
        curves[entry.name] = [(seconds[e] / 60, accuracy[e]) for e in accuracy if e in seconds]
    timed = all(run.timed for entry in comparison.methods for run in entry.runs)
    caption = "The same against minutes of training, validation included."
    if not timed:
        caption += " Epochs were not timed in every run; there, each counts as the run's mean."
    caption += _shared(comparison)
    return _lines(
        curves, styles, folder, "accuracy-time", "Accuracy over time", caption, "minutes", "online top-1 (%)"
    )


def _shared(comparison: Comparison) -> str:
    """A remark on times if any cell shared the processor: by its own record, else by the last call."""
    runs = [run for entry in comparison.methods for run in entry.runs]
    last = int(comparison.settings.get("jobs", 1))
    jobs = sorted({last if run.jobs is None else run.jobs for run in runs})
    if not jobs or jobs[-1] == 1:
        return ""
    threads = sorted({run.threads for run in runs if run.threads is not None})
    each = f", with {_range(threads)} thread{'s' if threads[-1] > 1 else ''} each" if threads else ""
    return f" {_range(jobs)} cells at a time shared the processor{each}, so times compare only roughly."


def _range(values: Sequence[int]) -> str:
    """Of sorted numbers."""
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def cost(rows: Sequence[Row], folder: Path, remark: str = "") -> Figure:
    """Seconds an epoch and peak memory."""
    rows = sorted(rows, key=lambda row: row.seconds_per_epoch or 0.0, reverse=True)
    with canvas(1, 2, height=0.9 + 0.22 * len(rows), sharey=True) as (figure, panels):
        for axes, key, label in zip(
            panels, ("seconds_per_epoch", "memory"), ("seconds an epoch", "peak memory (GiB)"), strict=True
        ):
            values = [getattr(row, key) or 0.0 for row in rows]
            colours = [HIGHLIGHT if row.entry.name.startswith("intl") else "#0072B2" for row in rows]
            bars = axes.barh(range(len(rows)), values, color=colours, height=0.7)
            axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
            axes.margins(x=0.18)
            axes.set_xlabel(label)
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(rows)), [row.entry.name for row in rows])
        caption = (
            "Mean over seeds of the training time, validation included; the highest memory of any seed: of "
            f"the GPU where there is one, else of the whole process, libraries included.{remark}"
        )
        return finish(figure, folder, "cost", "Cost", caption)


def intl_parts(entry: Entry, folder: Path) -> Figure:
    """Invariance and weighted trace loss over its attainable floor."""
    invariance = entry.mean_series("train_invariance_epoch")
    weighted = mean_points([weighted_excess(run) for run in entry.runs])
    with canvas(height=2.7) as (figure, axes):
        axes.plot(*zip(*invariance, strict=True), color=HIGHLIGHT, marker="o", ms=4, label="invariance")
        if weighted:
            axes.plot(
                *zip(*weighted, strict=True),
                color="#0072B2",
                marker="s",
                ls="--",
                ms=4,
                label="beta x trace over its floor",
            )
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        whole_epochs(axes)
        legend_below(figure, axes, 2)
        caption = (
            "The two parts of INTL's loss. The trace loss cannot reach zero in finitely many steps of "
            "Newton's iteration; drawn is its excess over the least that this batch and width can attain."
        )
        title = f"{entry.name}: loss over the attainable floor"
        return finish(figure, folder, f"loss-{entry.name}", title, caption)


def weighted_excess(run: Run) -> Points:
    """beta x trace excess by epoch; beta from loss = invariance + beta x trace, as it was logged."""
    parts = {
        name: dict(run.series(f"train_{name}_epoch"))
        for name in ("intl_loss", "invariance", "trace", "trace_excess")
    }
    return [
        (epoch, excess * (parts["intl_loss"][epoch] - parts["invariance"][epoch]) / parts["trace"][epoch])
        for epoch, excess in parts["trace_excess"].items()
        if parts["trace"].get(epoch)
    ]


def own_losses(entry: Entry) -> dict[str, Points]:
    """The parts of its loss that a method logs itself, by name, but those that never change."""
    names = {
        key.removeprefix("train_").removesuffix("_epoch")
        for run in entry.runs
        for row in run.rows
        for key in row
        if key.startswith("train_") and key.endswith("_epoch")
    }
    parts = {name: entry.mean_series(f"train_{name}_epoch") for name in sorted(names - set(_SHARED))}
    return {
        name: points for name, points in parts.items() if len(points) == 1 or len({y for _, y in points}) > 1
    }


def losses(own: dict[str, dict[str, Points]], styles: Styles, folder: Path) -> Figure:
    """One panel a method: what it minimises, on its own scale."""
    columns = 3
    lines = math.ceil(len(own) / columns)
    with canvas(lines, columns, height=1.6 * lines, squeeze=False) as (figure, grid):
        for axes in grid.flat[len(own) :]:
            axes.set_axis_off()
        for axes, (name, parts) in zip(grid.flat, own.items(), strict=False):
            for style, (part, points) in zip(cycle(("-", "--", ":", "-.")), parts.items(), strict=False):
                colour = styles.of(name)["color"]
                axes.plot(*zip(*points, strict=True), color=colour, ls=style, label=part)
            axes.set_title(name, fontsize=8)
            axes.tick_params(labelsize=7)
            whole_epochs(axes)
            if len(parts) > 1:
                axes.legend(fontsize=6, handlelength=1.8)
        figure.supxlabel("epoch", fontsize=8)
        figure.supylabel("loss", fontsize=8)
        caption = "What each other method logs of its own loss, by epoch; scales differ and do not compare."
        return finish(figure, folder, "losses", "The methods' own losses", caption)


def _lines(
    curves: dict[str, Points],
    styles: Styles,
    folder: Path,
    name: str,
    title: str,
    caption: str,
    xlabel: str,
    ylabel: str,
) -> Figure:
    with canvas(height=2.7) as (figure, axes):
        for method, points in curves.items():
            if points:
                every = max(1, len(points) // 8)
                axes.plot(*zip(*points, strict=True), label=method, markevery=every, **styles.of(method))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if xlabel == "epoch":
            whole_epochs(axes)
        legend_below(figure, axes)
        return finish(figure, folder, name, title, caption)
