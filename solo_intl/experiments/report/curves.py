"""Figures over training: accuracy and losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_intl.engine.trainer import OBJECTIVES
from solo_intl.experiments.report.data import Comparison, Entry, Points, Run, mean_points
from solo_intl.experiments.report.standings import from_to, sharing
from solo_intl.experiments.report.style import (
    COLOURS,
    HIGHLIGHT,
    Figure,
    Styles,
    canvas,
    finish,
    legend_below,
    whole_epochs,
)

_NOT_ITS_OWN = ("class_loss", "intl_loss")  # every method's classifier's; INTL's has a figure of its own


def draw_accuracy(comparison: Comparison, folder: Path) -> list[Figure]:
    """Online accuracy over epochs and over time; none where no run logged it."""
    styles = Styles([entry.name for entry in comparison.methods])
    if not any(entry.mean_series(online(comparison)) for entry in comparison.methods):
        return []
    return [accuracy_epochs(comparison, styles, folder), accuracy_time(comparison, styles, folder)]


def draw_losses(comparison: Comparison, folder: Path) -> list[Figure]:
    """INTL's loss over its floor, a figure for each of its variants; then every method's own losses."""
    styles = Styles([entry.name for entry in comparison.methods])
    intl = [entry for entry in comparison.methods if entry.mean_series("train_trace_excess_epoch")]
    figures = [intl_parts(entry, folder) for entry in intl]
    own = {entry.name: found for entry in comparison.methods if (found := own_losses(entry))}
    logged = [entry for entry in comparison.methods if any(run.rows for run in entry.runs)]
    without = [entry.name for entry in logged if entry.name not in own and entry not in intl]
    return [*figures, losses(own, styles, folder, without)] if own else figures


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
    return f", of at most {from_to(counts)} validation images{where} (limit_val_batches x batch)"


def accuracy_time(comparison: Comparison, styles: Styles, folder: Path) -> Figure:
    """Online accuracy against minutes of training."""
    curves: dict[str, Points] = {}
    for entry in comparison.methods:
        accuracy = dict(entry.mean_series(online(comparison)))
        seconds = dict(mean_points([run.series("seconds") for run in entry.runs]))
        curves[entry.name] = [(seconds[e] / 60, accuracy[e]) for e in accuracy if e in seconds]
    caption = f"The same against minutes of training, validation included.{sharing(comparison)}"
    return _lines(
        curves, styles, folder, "accuracy-time", "Accuracy over time", caption, "minutes", "online top-1 (%)"
    )


def intl_parts(entry: Entry, folder: Path) -> Figure:
    """Invariance and weighted trace loss over its attainable floor."""
    invariance = entry.mean_series("train_invariance_epoch")
    weighted = mean_points([weighted_excess(run) for run in entry.runs])
    with canvas(height=2.7) as (figure, axes):
        axes.plot(*zip(*invariance, strict=True), color=HIGHLIGHT, marker="o", ms=4, label="invariance")
        if weighted:
            axes.plot(
                *zip(*weighted, strict=True),
                color=COLOURS[0],
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
    """What a method minimises, as it logs it, by name; constants only if nothing changes."""
    columns = {
        key
        for run in entry.runs
        for row in run.rows
        for key in row
        if key.endswith(OBJECTIVES) and not key.startswith("val_") and not any(n in key for n in _NOT_ITS_OWN)
    }  # DINO's and ReSSL's are not called train_
    parts = {
        column.removeprefix("train_").removesuffix("_epoch"): entry.mean_series(column)
        for column in sorted(columns)
    }
    changing = {name: points for name, points in parts.items() if len({y for _, y in points}) > 1}
    return changing or parts


def losses(
    own: dict[str, dict[str, Points]], styles: Styles, folder: Path, without: Sequence[str] = ()
) -> Figure:
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
        caption += f" Without a logged loss: {', '.join(without)}." if without else ""
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
