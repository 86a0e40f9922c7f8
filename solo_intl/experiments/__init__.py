"""Analyses and comparisons, each one command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from solo_intl.errors import UserError, not_accepted


def run_experiment(arguments: Sequence[str]) -> None:
    """``solo-intl experiment NAME [KEY=VALUE ...]``.

    Raises:
        UserError: no such experiment, or it knows no such key.
    """
    from solo_intl.experiments.analysis import ANALYSES, run_analysis
    from solo_intl.experiments.demo import demo

    experiments: dict[str, Callable[[Sequence[str]], object]] = {
        "demo": demo,
        **{name: partial(run_analysis, name) for name in ANALYSES},
    }
    if not arguments:
        raise UserError(f"experiment: found no name, accepted: {', '.join(experiments)}")
    name, *rest = arguments
    if name not in experiments:
        raise not_accepted("experiment", name, experiments)
    experiments[name](rest)
