"""What the ablation says: effective ranks, accuracies, claims and figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from solo_intl.experiments.analysis.claims import Claim, spread
from solo_intl.experiments.analysis.drawing import COLOURS, panels

Runs = dict[str, list[dict[str, Any]]]  # variant -> a run a seed
INTL, ITERNORM, PLAIN = "INTL", "IterNorm alone", "plain MSE"
FULL, COLLAPSED = 0.5, 0.1  # parts of d


def effective_rank(spectrum: Sequence[float]) -> float:
    """exp of the entropy of a spectrum of sum 1: n for n equal eigenvalues, 1 for a single one.

    Example:
        >>> effective_rank([0.25] * 4), effective_rank([1.0, 0.0])
        (4.0, 1.0)
    """
    return math.exp(-sum(x * math.log(x) for x in spectrum if x > 0))


def ablation_claims(runs: Runs, d: int) -> list[Claim]:
    ranks = {
        which: {name: [effective_rank(run[which][-1]) for run in seeds] for name, seeds in runs.items()}
        for which in ("embedding", "output")
    }
    accuracies = {
        key: {name: [run["accuracies"][key] for run in seeds] for name, seeds in runs.items()}
        for key in ("knn", "linear")
    }
    intl = [name for name in runs if name.startswith(INTL)]
    alone = next(name for name in runs if name.startswith(ITERNORM))
    output, mean = ranks["output"], statistics.mean

    def spreads(values: dict[str, list[float]]) -> dict[str, Any]:
        return {name: spread(found) for name, found in values.items()}

    return [
        Claim(
            "spread",
            "INTL spreads the spectrum of its output at each (T, beta)",
            "paper, D.2",
            f"effective rank of the output at least {FULL} d = {FULL * d:g} at the end, in every seed",
            spreads(output),
            all(value >= FULL * d for name in intl for value in output[name]),
        ),
        Claim(
            "iternorm",
            "IterNorm alone leaves a lower effective rank than INTL at each (T, beta)",
            "paper, D.2",
            "mean effective rank of its output below that of each INTL",
            spreads({name: output[name] for name in (alone, *intl)}),
            all(mean(output[alone]) < mean(output[name]) for name in intl),
        ),
        Claim(
            "plain",
            "plain MSE collapses",
            "paper, D.2",
            f"effective rank of the embedding at most {COLLAPSED} d = {COLLAPSED * d:g} in every seed",
            spreads(ranks["embedding"]),
            all(value <= COLLAPSED * d for value in ranks["embedding"][PLAIN]),
        ),
        *(
            Claim(
                f"accuracy-{key}",
                f"INTL at each (T, beta) beats IterNorm alone and plain MSE ({label})",
                "paper, D.2",
                "mean top-1 accuracy in % above that of both",
                spreads(accuracies[key]),
                all(
                    mean(accuracies[key][name])
                    > max(mean(accuracies[key][other]) for other in (alone, PLAIN))
                    for name in intl
                ),
            )
            for key, label in (("knn", "5-NN"), ("linear", "linear"))
        ),
    ]


def ablation_rows(runs: Runs, settings: DictConfig) -> list[dict[str, Any]]:
    return [
        {
            "variant": name,
            "seed": seed,
            "step": step,
            "loss": f"{loss:.5g}",
            "embedding_effective_rank": f"{effective_rank(embedding):.4g}",
            "output_effective_rank": f"{effective_rank(output):.4g}",
            **{key: f"{value:.2f}" for key, value in run["accuracies"].items()},
        }
        for name, seeds in runs.items()
        for seed, run in zip(settings.seeds, seeds, strict=True)
        for step, loss, embedding, output in zip(
            run["step"], run["loss"], run["embedding"], run["output"], strict=True
        )
    ]


def ablation_figure(runs: Runs) -> Any:
    """Spectra of embedding and output at the end, effective rank of the output over steps, accuracies."""
    figure, ((embedding, output), (over_steps, bars)) = panels(2, 2, width=4.6, height=3.3)
    for i, (name, seeds) in enumerate(runs.items()):
        for j, run in enumerate(seeds):
            label = None if j else name
            for panel, which in ((embedding, "embedding"), (output, "output")):
                values = [max(x, 1e-12) for x in run[which][-1]]
                panel.semilogy(range(1, len(values) + 1), values, color=COLOURS[i], label=label)
            ranks = [effective_rank(spectrum) for spectrum in run["output"]]
            over_steps.plot(run["step"], ranks, color=COLOURS[i])
        for j, key in enumerate(("knn", "linear")):
            values = [run["accuracies"][key] for run in seeds]
            width = 0.8 / len(runs)
            error = statistics.stdev(values) if len(values) > 1 else None
            place = j + (i - (len(runs) - 1) / 2) * width
            bar = bars.bar(place, statistics.mean(values), width, yerr=error, color=COLOURS[i])
            bars.bar_label(bar, fmt="%.1f", fontsize=6)
    embedding.set(xlabel="index", ylabel="eigenvalue / sum")
    embedding.set_title("embedding at the end", fontsize=9)
    output.set(xlabel="index", ylabel="eigenvalue / sum")
    output.set_title("output of whitening at the end (plain MSE: embedding)", fontsize=9)
    over_steps.set(xlabel="step", ylabel="effective rank of the output", ylim=(0, None))
    bars.set(xticks=(0, 1), xticklabels=("5-NN", "linear"), ylabel="top-1 accuracy (%)", ylim=(0, 105))
    handles, labels = embedding.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
