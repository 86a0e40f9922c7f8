"""What the instability runs say: where each broke, claims and figure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from solo_intl.experiments.analysis.claims import Claim
from solo_intl.experiments.analysis.drawing import COLOURS, panels

Runs = dict[tuple[str, int], list[dict[str, Any]]]  # (method, d) -> a run a seed
HARD, CHOLESKY = "eigendecomposition", "Cholesky"
AT_ONCE = 5  # steps


def summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many runs broke, of how many, at which steps and why.

    Example:
        >>> summary([{"broke_at": 3, "why": "loss not finite"}, {"broke_at": None, "why": None}])
        {'broke': 1, 'of': 2, 'median_step': 3, 'why': {'loss not finite': 1}}
    """
    steps = [run["broke_at"] for run in seeds if run["broke_at"] is not None]
    return {
        "broke": len(steps),
        "of": len(seeds),
        "median_step": statistics.median(steps) if steps else None,
        "why": dict(Counter(run["why"] for run in seeds if run["why"])),
    }


def instability_claims(runs: Runs, settings: DictConfig) -> list[Claim]:
    m = int(settings.batch_size)

    def claim(
        name: str,
        statement: str,
        source: str,
        criterion: str,
        chosen: Callable[[str, int], bool],
        holds: Callable[[list[dict[str, Any]]], bool],
    ) -> Claim:
        found = {key: seeds for key, seeds in runs.items() if chosen(*key)}
        measured = {f"{method}, d={d}": summary(seeds) for (method, d), seeds in found.items()}
        every = [run for seeds in found.values() for run in seeds]
        return Claim(name, statement, source, criterion, measured, bool(every) and holds(every))

    def broken(every: list[dict[str, Any]]) -> list[int]:
        return [run["broke_at"] for run in every if run["broke_at"] is not None]

    def share_is_3_to_4_in_10(every: list[dict[str, Any]]) -> bool:
        return 0.3 <= len(broken(every)) / len(every) <= 0.4

    claims = []
    for method in (HARD, CHOLESKY):
        claims += [
            claim(
                f"wider-{method}",
                f"hard whitening by {method} breaks at once for d > m",
                "paper, D.3",
                f"every run breaks within {AT_ONCE} steps",
                lambda name, d, method=method: name == method and d > m,
                lambda every: len(broken(every)) == len(every) and max(broken(every)) < AT_ONCE,
            ),
            claim(
                f"square-{method}",
                f"hard whitening by {method} breaks for d = m",
                "paper, D.3",
                "every run breaks",
                lambda name, d, method=method: name == method and d == m,
                lambda every: len(broken(every)) == len(every),
            ),
            claim(
                f"narrower-{method}",
                f"hard whitening by {method} sometimes breaks for d < m / 2",
                "paper, D.3",
                "at least one run breaks",
                lambda name, d, method=method: name == method and 2 * d < m,
                lambda every: bool(broken(every)),
            ),
        ]
    claims.append(
        claim(
            "half",
            f"at m = 2 d, 3 to 4 of 10 longer runs ({settings.longer} steps) by {HARD} break",
            "paper, D.3",
            "from 30 to 40 % of the runs break",
            lambda name, d: name == HARD and 2 * d == m,
            share_is_3_to_4_in_10,
        )
    )
    for axis in ("batch", "channel"):
        claims.append(
            claim(
                f"intl-{axis}",
                f"INTL with {axis} whitening never breaks",
                "ours",
                "no run breaks",
                lambda name, d, axis=axis: name == f"INTL, {axis}",
                lambda every: not broken(every),
            )
        )
    return claims


def instability_rows(runs: Runs, settings: DictConfig) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "d": d,
            "seed": seed,
            "step": step,
            "log10_inverse_condition": f"{value:.3f}",
            "broke_at": run["broke_at"],
        }
        for (method, d), seeds in runs.items()
        for seed, run in zip(settings.seeds, seeds, strict=True)
        for step, value in zip(run["step"], run["log10_inverse_condition"], strict=True)
    ]


def instability_figure(runs: Runs, settings: DictConfig) -> Any:
    """A panel a method, a colour a size, a line a seed; a cross where it broke."""
    figure, grid = panels(2, 2, width=4.6, height=3.3, sharex=True, sharey=True)
    methods = list(dict.fromkeys(method for method, _ in runs))
    for panel, method in zip(grid.flat, methods, strict=True):
        for colour, d in zip(COLOURS, settings.dims, strict=False):
            for i, run in enumerate(runs[method, int(d)]):
                steps = [step + 1 for step in run["step"]]
                values = run["log10_inverse_condition"]
                label = None if i else f"d = {d}"
                panel.plot(steps, values, color=colour, linewidth=0.9, alpha=0.8, label=label)
                if run["broke_at"] is not None and values:
                    panel.plot(run["broke_at"] + 1, values[-1], "x", color=colour, markersize=6)
        panel.set_xscale("log")
        panel.set_title(f"{method} (m = {settings.batch_size}; x: broke)", fontsize=9)
    for panel in grid[1]:
        panel.set_xlabel("step + 1")
    for panel in grid[:, 0]:
        panel.set_ylabel(r"$\log_{10}\ \lambda_{min} / \lambda_{max}$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    return figure
