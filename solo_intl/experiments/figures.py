"""Figures of the experiments. Colours survive colour blindness (Okabe and Ito) and print in grey."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from solo_intl.engine.run_folder import read_metrics

COLOURS = ("#999999", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")


def demo_figure(
    results: Mapping[str, Sequence[Mapping[str, float]]], runs: Path, path: Path, title: str
) -> Path:
    """Accuracies beside the baselines, and the trace excess of each run on its way to zero."""
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    width = 0.25
    for i, (name, seeds) in enumerate(results.items()):
        for j, key in enumerate(("knn", "linear")):
            values = [accuracies[key] for accuracies in seeds]
            mean = statistics.mean(values)
            error = statistics.stdev(values) if len(values) > 1 else None
            bar = bars.bar(
                j + (i - 1) * width, mean, width, yerr=error, color=COLOURS[i], label=name if j == 0 else None
            )
            bars.bar_label(bar, fmt="%.1f", fontsize=8)
    lowest = min(accuracies[key] for seeds in results.values() for accuracies in seeds for key in accuracies)
    start = max(0, 5 * (int(lowest) // 5) - 5)
    bars.set(ylim=(start, 101), ylabel=f"top-1 accuracy (%), from {start}", xticks=(0, 1))
    bars.set_xticklabels(["5-NN", "linear"])
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(results), fontsize=8, frameon=False)
    for i, run in enumerate(sorted(runs.glob("*/metrics.csv"))):
        column = "train_trace_excess_step"
        points = [(row["step"], row[column]) for row in read_metrics(run.parent) if column in row]
        colour = COLOURS[(i + 2) % len(COLOURS)]
        curve.plot(*zip(*points, strict=True), color=colour, label=run.parent.name.rsplit("-", 2)[0])
    curve.set(ylim=(0, None), xlabel="step", ylabel="trace loss over its floor")
    curve.set_title("distance from a uniform spectrum", fontsize=9)
    curve.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write the figure and release it."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
