"""Who is ahead, and whether more than chance says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
from scipy import stats

from solo_intl.experiments.grid import RAW
from solo_intl.experiments.report.data import Comparison, Entry

LEVEL = 0.05
Score = tuple[float, float | None]  # mean, and standard deviation over seeds if there are several
LABELS = ("supcon",)  # methods of solo-learn that pre-train with the labels
LABELLED = "uses labels"
INCOMPLETE = "incomplete"  # fewer seeds than most others have finished: a lucky one must not win
FEW = "fewer than two common seeds"  # why there is no test
EQUAL = "the same difference at every seed, which leaves no variance"


@dataclass(frozen=True)
class Row:
    """One line of the ranking; accuracies in percent, memory the highest of any seed in GiB.

    ``difference`` is the mean over common seeds of linear accuracy less the first method's; ``p`` the paired
    t-test's two-sided value, ``adjusted`` the same after Holm's correction; None where there is no test, and
    ``untested`` says why; ``common`` counts the seeds of the test. ``mark`` says why a trained
    method has no ``place``.
    """

    entry: Entry
    knn: Score
    linear: Score
    seconds_per_epoch: Score | None
    memory: float | None
    difference: float | None = None
    p: float | None = None
    adjusted: float | None = None
    untested: str = ""
    common: int = 0
    place: int | None = None
    mark: str = ""

    @property
    def label(self) -> str:
        """The name, and what keeps it from a place."""
        return f"{self.entry.name} ({self.mark})" if self.mark else self.entry.name


def rank(comparison: Comparison) -> list[Row]:
    """Entries by mean linear accuracy, the best first; trained methods are tested against the first one.

    Places are for methods with as many finished seeds as at least half of them have; those with fewer come
    last, without one.
    Methods that pre-train with labels stand where their accuracy puts them, without a place and untested.
    """
    rows = sorted((_row(e) for e in comparison.entries if e.runs), key=lambda row: -row.linear[0])
    rivals = [row.entry for row in rows if row.entry.trained and row.entry.method not in LABELS]
    counts = sorted((len(entry.runs) for entry in rivals), reverse=True)
    usual = counts[(len(counts) - 1) // 2] if counts else 0
    rows = [replace(row, mark=_mark(row.entry, usual)) for row in rows]
    rows.sort(key=lambda row: row.mark == INCOMPLETE)
    placed = [row.entry.name for row in rows if row.entry.trained and not row.mark]
    if not placed:
        return rows
    first = next(row.entry for row in rows if row.entry.name == placed[0])
    places = {name: place for place, name in enumerate(placed, start=1)}
    rows = [replace(row, place=places.get(row.entry.name)) for row in rows]
    tested = {
        row.entry.name: _tested(row, first) for row in rows if row.entry.trained and row.entry is not first
    }
    adjusted = holm([row.p for row in tested.values()])
    done = {
        row.entry.name: replace(row, adjusted=p) for row, p in zip(tested.values(), adjusted, strict=True)
    }
    return [done.get(row.entry.name, row) for row in rows]


def _mark(entry: Entry, usual: int) -> str:
    if entry.trained and entry.method in LABELS:
        return LABELLED
    return INCOMPLETE if entry.trained and len(entry.runs) < usual else ""


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


def conclusion(rows: Sequence[Row]) -> list[str]:
    """What the ranking allows to say, a statement each: who is first, then what else a reader must know."""
    trained = [row for row in rows if row.entry.trained and row.mark != LABELLED]
    if not trained:
        return ["No method has finished yet."]
    first, seeds = trained[0], len(trained[0].entry.runs)
    said = (
        f"First by linear accuracy: {first.entry.name}, {show(first.linear)} % over {_count(seeds, 'seed')}."
    )
    others = _apart(trained[1:]) + _ahead(trained) + _ours(trained)
    return [said, *others, *_beaten(rows), *_warming_up(rows)]


def _apart(rest: Sequence[Row]) -> list[str]:
    """Whom the paired test tells from the first."""
    if not rest:
        return []
    untested = _reasons(rest)
    tested = [row for row in rest if row.adjusted is not None]
    if not tested:
        return [f"No paired test over seeds ({untested})."]
    apart = [row.label for row in tested if (row.adjusted or 0.0) < LEVEL]
    near = [row.label for row in tested if (row.adjusted or 0.0) >= LEVEL]
    level = "told apart from it at the 5 % level after Holm's correction"
    told = f"{level}: {', '.join(apart)}; not told apart: {', '.join(near) or 'none'}"
    why = f"; not tested ({untested})" if untested else ""
    return [f"Of {_count(len(rest), 'other')}, {told if apart else f'none is {level}'}{why}."]


def _ahead(trained: Sequence[Row]) -> list[str]:
    """Who has no place, and was better than the first where both have finished."""
    found = [row for row in trained if row.mark == INCOMPLETE and (row.difference or 0.0) > 0]
    names = ", ".join(f"{row.entry.name} ({row.difference:+.2f})" for row in found)
    return (
        [f"Ahead of it at the seeds that both have finished, but without a place: {names}."] if found else []
    )


def _beaten(rows: Sequence[Row]) -> list[str]:
    """How many methods stay below what needs no training."""
    trained = [row for row in rows if row.entry.trained]
    said = []
    for row in rows:
        if row.entry.trained or not trained:
            continue
        below = [
            sum(getattr(one, key)[0] < getattr(row, key)[0] for one in trained) for key in ("linear", "knn")
        ]
        name = "the raw pixels" if row.entry.name == RAW else "the untrained network"
        said.append(
            f"Below {name} are {below[0]} of {_count(len(trained), 'method')} by linear accuracy "
            f"({show(row.linear)}), {below[1]} by 5-NN ({show(row.knn)})."
        )
    return said


def _ours(trained: Sequence[Row]) -> list[str]:
    """A sentence for INTL, and each variant of it, that is not first."""
    places = sum(row.place is not None for row in trained)
    said = []
    for row in trained[1:]:
        if not row.entry.method.startswith("intl"):
            continue
        where = f"at place {row.place} of {places}" if row.place else f"without a place ({row.mark})"
        apart = "" if row.difference is None else f", {row.difference:+.2f} points from the first"
        if row.adjusted is None:
            told = "not tested"
        else:
            verdict = "told apart from it" if row.adjusted < LEVEL else "not told apart from it"
            told = f"{verdict} (p after Holm's correction {show_p(row.adjusted)})"
        said.append(f"{row.entry.name} stands {where} with {show(row.linear)} %{apart}, {told}.")
    return said


def _warming_up(rows: Sequence[Row]) -> list[str]:
    """Whose settings are for a longer training."""
    names = [row.entry.name for row in rows if any(run.warming_up for run in row.entry.runs)]
    said = "Warm-up took every epoch, so the learning rate never came to its height: "
    return [f"{said}{', '.join(names)}."] if names else []


def caution(rows: Sequence[Row]) -> str:
    """What the tests of this table can say, and what not."""
    tests = [row.common for row in rows if row.p is not None]
    said = (
        "What the test can say: the first is chosen by the same figures that it is tested on, which makes "
        "its lead look larger, and all seeds share one validation set, so it speaks of other seeds, not of "
        "other images."
    )
    if not tests:
        return said
    least, most = min(tests) - 1, max(tests) - 1
    freedom = str(least) if least == most else f"{least} to {most}"
    return (
        f"{said} Degrees of freedom: common seeds less one, here {freedom}; Holm's correction is for "
        f"{_count(len(tests), 'test')}."
    )


def _reasons(rows: Sequence[Row]) -> str:
    """Whom no test was made of, by the reason."""
    names = {why: [row.label for row in rows if row.untested == why] for why in (FEW, EQUAL)}
    return "; ".join(f"{why}: {', '.join(found)}" for why, found in names.items() if found)


def show(score: Score, digits: int = 2) -> str:
    """Mean and deviation as they stand in a table.

    Example:
        >>> show((98.0, 0.257)), show((6.25, None), digits=1)
        ('98.00 ± 0.26', '6.2')
    """
    mean_, spread = score
    return f"{mean_:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def show_p(p: float) -> str:
    """A probability as it stands in a table."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _score(values: Sequence[float]) -> Score:
    return mean(values), stdev(values) if len(values) > 1 else None


def _row(entry: Entry) -> Row:
    trained = [run for run in entry.runs if run.final]
    return Row(
        entry,
        knn=_score([run.accuracies["knn"] for run in entry.runs]),
        linear=_score([run.accuracies["linear"] for run in entry.runs]),
        seconds_per_epoch=_score([run.seconds_per_epoch for run in trained]) if trained else None,
        memory=max((run.final["peak_memory_gib"] or 0.0 for run in trained), default=0.0) or None,
    )


def _tested(row: Row, first: Entry) -> Row:
    """The row with its difference to the first method and the test of it."""
    theirs = {run.seed: run.accuracies["linear"] for run in first.runs}
    pairs = [(run.accuracies["linear"], theirs[run.seed]) for run in row.entry.runs if run.seed in theirs]
    if not pairs:
        return replace(row, untested="" if row.mark == LABELLED else FEW)
    ours, reference = np.asarray(pairs).T
    row = replace(row, difference=float((ours - reference).mean()))
    if row.mark == LABELLED:
        return row
    if len(pairs) < 2:
        return replace(row, untested=FEW)
    if np.ptp(ours - reference) < 1e-9:
        return replace(row, untested=EQUAL)
    return replace(row, p=float(stats.ttest_rel(ours, reference).pvalue), common=len(pairs))
