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
        {'broke': 1, 'of': 2, 'steps': [3], 'median_step': 3, 'why': {'loss not finite': 1}}
    """
    steps = sorted(run["broke_at"] for run in seeds if run["broke_at"] is not None)
    return {
        "broke": len(steps),
        "of": len(seeds),
        "steps": steps,
        "median_step": statistics.median(steps) if steps else None,
        "why": dict(Counter(run["why"] for run in seeds if run["why"])),
    }


Rule = Callable[[list[int], int], bool]  # steps at which runs broke, of how many runs


def every_run(broken: list[int], of: int) -> bool:
    return len(broken) == of


def at_once(broken: list[int], of: int) -> bool:
    return every_run(broken, of) and max(broken) < AT_ONCE


def some_run(broken: list[int], of: int) -> bool:
    return bool(broken)


def three_to_four_in_ten(broken: list[int], of: int) -> bool:
    return 0.3 <= len(broken) / of <= 0.4


def no_run(broken: list[int], of: int) -> bool:
    return not broken


def instability_claims(runs: Runs, settings: DictConfig) -> list[Claim]:
    m = int(settings.batch_size)
    dims = [int(d) for d in settings.dims]

    def claim(
        name: str, statement: str, source: str, criterion: str, method: str, chosen: list[int], rule: Rule
    ) -> Claim:
        measured = {f"{method}, d={d}": summary(runs[method, d]) for d in chosen}
        every = [run for d in chosen for run in runs[method, d]]
        broken = [run["broke_at"] for run in every if run["broke_at"] is not None]
        return Claim(name, statement, source, criterion, measured, bool(every) and rule(broken, len(every)))

    wider, square = [d for d in dims if d > m], [d for d in dims if d == m]
    half, narrower = [d for d in dims if 2 * d == m], [d for d in dims if 2 * d < m]
    paper, ours = "paper, D.3", "ours"
    soon, once = f"every run breaks within {AT_ONCE} steps", "at least one run breaks"
    claims = []
    for method, source in ((HARD, paper), (CHOLESKY, "ours: D.3 decomposes into eigenvalues")):
        hard = f"hard whitening by {method}"
        claims += [
            claim(
                f"wider-{method}", f"{hard} breaks at once for d > m", source, soon, method, wider, at_once
            ),
            claim(
                f"square-{method}",
                f"{hard} breaks for d = m",
                source,
                "every run breaks",
                method,
                square,
                every_run,
            ),
            claim(
                f"narrower-{method}",
                f"{hard} sometimes breaks for d < m / 2",
                source,
                once,
                method,
                narrower,
                some_run,
            ),
        ]
    longer = f"at m = 2 d, 3 to 4 of 10 longer runs ({settings.longer} steps) by {HARD} break"
    share = "from 30 to 40 % of the runs break"
    claims.append(claim("half", longer, paper, share, HARD, half, three_to_four_in_ten))
    sometimes = f"hard whitening by {CHOLESKY} sometimes breaks at m = 2 d"
    claims.append(claim(f"half-{CHOLESKY}", sometimes, ours, once, CHOLESKY, half, some_run))
    length = f"no run breaks ({settings.steps} steps for d <= m, {settings.steps_above} for d > m)"
    for axis in ("batch", "channel"):
        never = f"INTL with {axis} whitening never breaks"
        claims.append(claim(f"intl-{axis}", never, ours, length, f"INTL, {axis}", dims, no_run))
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
