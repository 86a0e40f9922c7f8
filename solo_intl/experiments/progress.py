"""How far a comparison has come, and how long it still takes."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from solo_intl.engine.run_folder import read_metrics
from solo_intl.experiments.budget import BUDGET_FILE
from solo_intl.experiments.grid import RAW, UNTRAINED, Cell


def seconds_left(
    cells: Sequence[Cell], waiting: Sequence[Cell], spent: Mapping[Path, float], jobs: int
) -> float | None:
    """How long the grid still takes.

    A cell that has done an epoch takes as long for each of the others; one that has not, as long as the
    finished or running ones of its method, else as the mean of all methods. Evaluation takes what that of the
    untrained network took.

    Args:
        cells: the grid.
        waiting: those of them that have not ended.
        spent: seconds since each that has begun did, by its folder.
        jobs: cells at a time.

    Returns:
        Seconds; None while nothing is known of a method.
    """
    judging = [float(cell.result["seconds"]) for cell in cells if cell.finished and cell.name == UNTRAINED]
    after = statistics.mean(judging) if judging else 0.0
    took: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        if cell.finished:
            took[cell.file or cell.name].append(float(cell.result["seconds"]))  # rates cost alike
    training = {cell.folder: found for cell in waiting if (found := _training(cell))}
    for cell in waiting:
        if cell.folder in training and (cell.file or cell.name) not in took:
            took[cell.file or cell.name].append(training[cell.folder][0] + after)
    methods = [value for name, values in took.items() if name not in (RAW, UNTRAINED) for value in values]
    left = []
    for cell in waiting:
        if cell.folder in training:
            whole, done, age = training[cell.folder]
            left.append(max(0.0, whole + after - done - min(age, spent.get(cell.folder, 0.0))))
            continue
        known = took.get(cell.file or cell.name)
        if not known and cell.name in (RAW, UNTRAINED):
            known = [0.0]  # far less than any method
        elif not known:
            known = [60 * cell.minutes + after] if cell.minutes else methods
        if not known:
            return None
        left.append(max(0.0, statistics.mean(known) - spent.get(cell.folder, 0.0)))
    return max([sum(left) / jobs, *left]) if left else 0.0  # what runs alone at the end is not shared


def _training(cell: Cell) -> tuple[float, float, float] | None:
    """Seconds that the cell's pre-training takes in all, seconds done, and since when that was written."""
    files = sorted(cell.folder.glob("pretrain/*/metrics.csv"), key=lambda file: file.stat().st_mtime)
    for file in reversed(files):  # a run that was just resumed has done no epoch of its own
        rows = read_metrics(file.parent)
        timed = [row for row in rows if {"seconds", "epoch"} <= row.keys()]
        if timed:
            last = timed[-1]
            done = (
                last["seconds"] * (rows[-1]["step"] + 1) / (last["step"] + 1)
            )  # rows come within epochs too
            whole = last["seconds"] * max(1.0, _epochs(cell) / (last["epoch"] + 1))
            if cell.minutes:
                whole = min(whole, 60 * cell.minutes)
            return whole, min(whole, done), max(0.0, time.time() - file.stat().st_mtime)
    return None


def _epochs(cell: Cell) -> int:
    budget = cell.folder / BUDGET_FILE
    if cell.minutes and budget.is_file():
        return int(json.loads(budget.read_text())["max_epochs"])
    return int(cell.cfg.max_epochs)


def title(cell: Cell) -> str:
    """What a cell is called in the lines that it prints."""
    return f"{cell.name}, seed {cell.cfg.seed}"


def outcome(cell: Cell) -> str:
    """What came of a cell that has ended."""
    result = cell.result
    scores = ", ".join(f"{key} {value:.2f}" for key, value in result.get("accuracies", {}).items())
    told = scores or f"failed: {result.get('error')}"
    return f"{title(cell)}: {told}; {result.get('seconds', 0):.0f} s"


def span(seconds: float | None) -> str:
    """The time left, in words.

    Example:
        >>> span(90), span(7260), span(None)
        ('about 2 min left', 'about 2 h 01 min left', 'time left not known yet')
    """
    if seconds is None:
        return "time left not known yet"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"about {f'{hours} h {minutes:02d} min' if hours else f'{minutes} min'} left"
