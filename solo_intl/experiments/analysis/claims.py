"""A claim: what is said, how it is decided, what was measured, and whether it holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One line of an analysis's JSON.

    Attributes:
        name: a short name, unique in the analysis.
        statement: what is claimed.
        source: where it is claimed: a section of the paper, or "ours".
        criterion: the rule by which the measurements decide.
        measured: the measurements, over the seeds where there are any.
        holds: whether they satisfy the criterion.
    """

    name: str
    statement: str
    source: str
    criterion: str
    measured: dict[str, Any]
    holds: bool


@dataclass(frozen=True)
class Report:
    """What follows from an analysis's cells: its claims, its table and its figure."""

    claims: list[Claim]
    rows: list[dict[str, Any]]
    figure: Any


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and greatest over the seeds, to 4 digits.

    Example:
        >>> spread([0.5, 1.0, 2.0])
        {'median': 1.0, 'min': 0.5, 'max': 2.0, 'n': 3}
    """
    found = list(values)
    centre = {"median": statistics.median(found), "min": min(found), "max": max(found)}
    return {**{key: float(f"{value:.4g}") for key, value in centre.items()}, "n": len(found)}
