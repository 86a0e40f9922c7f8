"""What the toy runs say: claims, table and figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.ticker import NullFormatter
from omegaconf import DictConfig

from solo_intl.experiments.analysis.claims import Claim, spread
from solo_intl.experiments.analysis.drawing import COLOURS, panels

Runs = dict[tuple[str, str], list[dict[str, Any]]]  # (transform, start) -> a run a seed
LAST = 5  # measurements whose mean is a run's end
NAMED_T = 5  # the T of the paper's statement
WHITE, COLLAPSED, PULLED_UP = 0.9, 0.1, 0.5  # the smaller eigenvalue of the output


def end(run: dict[str, Any], which: str, eigenvalue: int) -> float:
    """Mean of the last measurements of one eigenvalue: 0 the larger, 1 the smaller."""
    return statistics.mean(pair[eigenvalue] for pair in run[which][-LAST:])


def variance_kept(run: dict[str, Any]) -> float:
    """Variance of the output at the end over that at the start."""
    return (end(run, "output", 0) + end(run, "output", 1)) / sum(run["output"][0])


def toy_claims(runs: Runs) -> list[Claim]:
    return [*_iternorm_claims(runs), *_intl_claims(runs), _power_claim(runs)]


def _small(run: dict[str, Any]) -> float:
    """The smaller eigenvalue of the output at the end."""
    return end(run, "output", 1)


def _over_seeds(
    seeds: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float], rule: Callable[[float], bool]
) -> dict[str, Any]:
    """Spread of a value, and how many runs broke and how many of the others satisfy the rule."""
    sound = [run for run in seeds if run["broke_at"] is None]
    met = sum(rule(value(run)) for run in sound)
    return {**spread(map(value, seeds)), "satisfy": met, "broke": len(seeds) - len(sound)}


def _all_satisfy(*measured: dict[str, Any]) -> bool:
    return bool(measured) and all(each["satisfy"] == each["n"] for each in measured)


def _iternorm_claims(runs: Runs) -> list[Claim]:
    found = []
    for start, verb, rule, bound in (
        ("well", "whitens from the well-conditioned start", lambda x: x >= WHITE, f"at least {WHITE}"),
        (
            "ill",
            "collapses to one dimension from the ill-conditioned start",
            lambda x: x <= COLLAPSED,
            f"at most {COLLAPSED}",
        ),
    ):
        measured = {
            name: _over_seeds(seeds, _small, rule)
            for (name, begun), seeds in runs.items()
            if begun == start and name.startswith("IterNorm")
        }
        named = [each for name, each in measured.items() if name == f"IterNorm T={NAMED_T}"]
        found.append(
            Claim(
                f"iternorm-{start}",
                f"IterNorm alone, T = {NAMED_T}, {verb}",
                "paper, D.1",
                f"smaller eigenvalue of the output at the end {bound} in every seed, and no run broke",
                measured,
                _all_satisfy(*named),
            )
        )
    return found


def _intl_claims(runs: Runs) -> list[Claim]:
    names = dict.fromkeys(name for name, _ in runs if name.startswith("INTL"))
    found = []
    for name in names:
        measured = {
            start: _over_seeds(runs[name, start], _small, lambda x: x >= PULLED_UP)
            for start in ("well", "ill")
        }
        found.append(
            Claim(
                name.lower().replace(" ", "-"),
                f"{name} pulls the small eigenvalue up from both starts",
                "ours",
                f"smaller eigenvalue of the output at the end at least {PULLED_UP} in every seed of both, "
                "and no run broke",
                measured,
                _all_satisfy(*measured.values()),
            )
        )
    return found


def _power_claim(runs: Runs) -> Claim:
    hard, others = {}, {}
    for (name, start), seeds in runs.items():
        if name == "power p=0.5":
            hard[f"{name}, {start}"] = _over_seeds(seeds, variance_kept, lambda x: abs(x - 1) < 0.01)
        elif name.startswith("power"):
            others[f"{name}, {start}"] = _over_seeds(seeds, variance_kept, lambda x: x < 0.99)
    return Claim(
        "power",
        "with un-normalised MSE only p = 1/2 keeps the variance of the output; other powers let it shrink",
        "ours",
        "variance at the end over that at the start, in every seed: within 1 % of 1 for p = 1/2, below 0.99 "
        "for others, and no run broke",
        hard | others,
        _all_satisfy(*hard.values()) and _all_satisfy(*others.values()),
    )


def toy_rows(runs: Runs, settings: DictConfig) -> list[dict[str, Any]]:
    rows = []
    for (name, start), seeds in runs.items():
        for seed, run in zip(settings.seeds, seeds, strict=True):
            for step, z, out in zip(run["step"], run["embedding"], run["output"], strict=True):
                values = {"embedding_1": z[0], "embedding_2": z[1], "output_1": out[0], "output_2": out[1]}
                rounded = {key: f"{value:.5g}" for key, value in values.items()}
                rows.append({"transform": name, "start": start, "seed": seed, "step": step, **rounded})
    return rows


def toy_figure(runs: Runs, data: dict[str, Any]) -> Any:
    """Data and starting embeddings; then output and embedding over steps, IterNorm and INTL, then powers."""
    figure, axes = panels(3, 4, width=3.3, height=2.7)
    scatters = [("data, first seed", data["points"])]
    scatters += [(f"embedding at the start, {name}-conditioned", z) for name, z in data["starts"].items()]
    for panel, (title, points) in zip(axes[0], scatters, strict=False):
        panel.scatter(*zip(*points, strict=True), s=3, color=COLOURS[0], linewidths=0)
        panel.set_title(title, fontsize=8)
        panel.axis("equal")
    legends = []
    for column, (powers, start) in enumerate(
        ((False, "well"), (False, "ill"), (True, "well"), (True, "ill"))
    ):
        chosen = [(n, s) for (n, b), s in runs.items() if b == start and n.startswith("power") == powers]
        for row, which in ((1, "output"), (2, "embedding")):
            panel = axes[row, column]
            for colour, (name, seeds) in zip(COLOURS, chosen, strict=False):
                _draw(panel, seeds, which, colour, name)
            panel.set_yscale("log")
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_title(f"{which}, {start}-conditioned start", fontsize=8)
            if column in (0, 2):
                panel.set_ylabel("eigenvalues")
            if row == 2:
                panel.set_xlabel("step")
        legends += [] if start == "ill" else [axes[1, column].get_legend_handles_labels()]
    last = axes[0, 3]
    last.axis("off")
    style = {"fontsize": 8, "title_fontsize": 8, "loc": "upper left", "frameon": False}
    left = last.legend(*legends[0], title="left panels", bbox_to_anchor=(0, 1), **style)
    last.legend(*legends[1], title="right panels", bbox_to_anchor=(0.55, 1), **style)
    last.add_artist(left)
    note = "median over the seeds; band: all seeds\nsolid: smaller, dotted: larger eigenvalue"
    last.text(0, 0, note, fontsize=8)
    return figure


def _draw(panel: Any, seeds: Sequence[dict[str, Any]], which: str, colour: str, name: str) -> None:
    shortest = min(len(run["step"]) for run in seeds)
    steps = seeds[0]["step"][:shortest]
    for eigenvalue, style in ((1, "-"), (0, ":")):
        values = [[run[which][i][eigenvalue] for run in seeds] for i in range(shortest)]
        label = name if eigenvalue else None
        panel.plot(steps, [statistics.median(v) for v in values], style, color=colour, label=label)
        if eigenvalue:
            bounds = ([max(f(v), 1e-12) for v in values] for f in (min, max))
            panel.fill_between(steps, *bounds, color=colour, alpha=0.15, linewidth=0)
