"""Who is ahead, and whether more than chance says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
from scipy import stats

from solo_intl.experiments.report.data import Comparison, Entry

LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One line of the ranking; accuracies in percent as (mean, standard deviation over seeds or None).

    ``difference`` is the mean over common seeds of linear accuracy less the first method's; ``p`` the paired
    t-test's two-sided value, ``adjusted`` the same after Holm's correction; None where there is no test.
    """

    entry: Entry
    knn: tuple[float, float | None]
    linear: tuple[float, float | None]
    seconds_per_epoch: float | None
    memory: float | None
    difference: float | None = None
    p: float | None = None
    adjusted: float | None = None


def rank(comparison: Comparison) -> list[Row]:
    """Entries by mean linear accuracy, the best first; trained methods are tested against the first one."""
    rows = sorted((_row(e) for e in comparison.entries if e.runs), key=lambda row: -row.linear[0])
    trained = [row for row in rows if row.entry.trained]
    if not trained:
        return rows
    first = trained[0].entry
    tested = {row.entry.name: _test(row.entry, first) for row in trained[1:]}
    adjusted = dict(zip(tested, holm([p for _, p in tested.values()]), strict=True))
    return [
        replace(row, difference=tested[name][0], p=tested[name][1], adjusted=adjusted[name])
        if (name := row.entry.name) in tested
        else row
        for row in rows
    ]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for as many tests as there are, by Holm's step-down rule; None stays None.

    Example:
        >>> holm([0.01, None, 0.04])
        [0.02, None, 0.04]
    """
    order = sorted((i for i, p in enumerate(values) if p is not None), key=lambda i: values[i] or 0.0)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for position, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - position) * (values[i] or 0.0)))
        adjusted[i] = highest
    return adjusted


def conclusion(rows: Sequence[Row]) -> str:
    """What the ranking allows to say, in a sentence or two."""
    trained = [row for row in rows if row.entry.trained]
    if not trained:
        return "No method has finished yet."
    first, seeds = trained[0], len(trained[0].entry.runs)
    said = (
        f"First by linear accuracy: {first.entry.name}, {show(first.linear)} % over {_count(seeds, 'seed')}."
    )
    others = [row for row in trained[1:] if row.adjusted is not None]
    if len(trained) == 1:
        return said
    if not others:
        return f"{said} No test: a paired test needs two seeds that both methods have finished."
    apart = [row.entry.name for row in others if (row.adjusted or 0.0) < LEVEL]
    near = [row.entry.name for row in others if (row.adjusted or 0.0) >= LEVEL]
    untested = [row.entry.name for row in trained[1:] if row.adjusted is None]
    told = f"told apart from it at the 5 % level after Holm's correction: {', '.join(apart) or 'none'}"
    rest = f"; not tested, for want of two common seeds: {', '.join(untested)}" if untested else ""
    count = _count(len(trained) - 1, "other")
    return f"{said} Of {count}, {told}; not told apart: {', '.join(near) or 'none'}{rest}."


def show(score: tuple[float, float | None]) -> str:
    """Mean and deviation as they stand in a table."""
    return f"{score[0]:.2f}" + ("" if score[1] is None else f" ± {score[1]:.2f}")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _score(entry: Entry, key: str) -> tuple[float, float | None]:
    values = [run.accuracies[key] for run in entry.runs]
    return mean(values), stdev(values) if len(values) > 1 else None


def _row(entry: Entry) -> Row:
    trained = [run for run in entry.runs if run.final]
    return Row(
        entry,
        knn=_score(entry, "knn"),
        linear=_score(entry, "linear"),
        seconds_per_epoch=mean(run.seconds_per_epoch for run in trained) if trained else None,
        memory=max(run.final["peak_memory_gib"] for run in trained) if trained else None,
    )


def _test(entry: Entry, first: Entry) -> tuple[float | None, float | None]:
    theirs = {run.seed: run.accuracies["linear"] for run in first.runs}
    pairs = [(run.accuracies["linear"], theirs[run.seed]) for run in entry.runs if run.seed in theirs]
    if not pairs:
        return None, None
    ours, reference = np.asarray(pairs).T
    difference = ours - reference
    if len(pairs) < 2 or np.ptp(difference) < 1e-9:  # no variance, no test
        return float(difference.mean()), None
    return float(difference.mean()), float(stats.ttest_rel(ours, reference).pvalue)
