"""What the measurements of the theory say: claims, table and figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import DictConfig

from solo_intl.experiments.analysis.claims import Claim
from solo_intl.experiments.analysis.drawing import COLOURS, panels
from solo_intl.losses import spectral_map


def theory_claims(results: dict[str, Any], settings: DictConfig) -> list[Claim]:
    margins = results["map"]["margins"]
    second, floor = results["theorem-2"], results["floor"]
    cases = f"{settings.cases} random cases"

    def claim(
        name: str, statement: str, criterion: str, holds: Callable[..., bool], **measured: float
    ) -> Claim:
        rounded = {key: float(f"{value:.4g}") for key, value in measured.items()}
        rule = f"{criterion}, over {cases}"
        return Claim(name, statement, "paper, theory", rule, rounded, holds(**measured))

    def of_map(name: str, statement: str, where: str = "") -> Claim:
        away = f"for x in (0, 1/2]{where} and T <= 4, where float64 does not round it away"
        return claim(
            name,
            statement,
            f"least margin above 0 {away}",
            lambda margin: margin > 0,
            margin=margins[name],
        )

    return [
        claim(
            "theorem-1",
            f"IterNorm makes h_T(lambda / tr) of each eigenvalue, to condition {settings.condition:g}",
            "greatest relative error below 1e-6",
            lambda error: error < 1e-6,
            error=results["theorem-1"]["worst_relative_error"],
        ),
        of_map("proposition-1", "on (0, 1), h_T lies in (0, 1) and increases"),
        of_map("proposition-2", "h_{T+1} > h_T on (0, 1)"),
        of_map("concavity", "h_T is concave for T >= 1", ", two of them at least 0.1 % apart,"),
        claim(
            "theorem-2-convex",
            "the trace loss is strictly convex in the normalised spectrum for T >= 1",
            "chord over curve, by squared length of the segment, above 0 on each",
            lambda margin: margin > 0,
            margin=second["convexity_margin"],
        ),
        claim(
            "theorem-2-minimum",
            "its unique minimum is the uniform spectrum",
            "excess over the uniform one, by squared distance, above 0; relative KKT residual below 1e-6",
            lambda margin, residual: margin > 0 and residual < 1e-6,
            margin=second["excess_margin"],
            residual=second["kkt_residual"],
        ),
        claim(
            "theorem-2-needs-iterations",
            "at T = 0 Theorem 2 is false",
            "with eigenvectors that mix alike the trace loss is the same, to 1e-12, whatever the spectrum",
            lambda spread: spread < 1e-12,
            spread=second["spread_at_no_iterations"],
        ),
        claim(
            "floor",
            "no batch's trace loss is below trace_loss_floor at the rank that centring leaves",
            "least excess per eigenvalue above -1e-12; uniform spectra of every rank attain it to 1e-9",
            lambda excess, distance: excess > -1e-12 and distance < 1e-9,
            excess=floor["least_excess"],
            distance=floor["distance_of_uniform"],
        ),
        claim(
            "rank",
            "centring bounds the rank by min(m, d - 1) (channel) and min(d, m - 1) (batch)",
            "no rank above it",
            lambda above: above == 0,
            above=floor["ranks_above_bound"],
        ),
    ]


def theory_rows(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    return [
        {"claim": each.name, "measure": key, "value": value}
        for each in claims
        for key, value in each.measured.items()
    ]


def theory_figure(results: dict[str, Any]) -> Any:
    figure, ((curves, theorem), (convex, floor)) = panels(2, 2, width=4.4, height=3.4)
    for colour, (t, values) in zip(COLOURS, results["map"]["curves"].items(), strict=False):
        curves.loglog(results["map"]["x"], values, color=colour, label=f"T = {t}")
    curves.set(
        xlabel="eigenvalue / trace", ylabel="$h_T$", title="the map: every step lifts small eigenvalues"
    )
    curves.legend(fontsize=7)
    for colour, (t, pairs) in zip(COLOURS, results["theorem-1"]["points"].items(), strict=False):
        x, found = zip(*pairs, strict=True)
        theorem.loglog(x, found, ".", color=colour, markersize=3)
        line = torch.logspace(-12.5, 0, 200, dtype=torch.float64)
        theorem.loglog(line, spectral_map(line, iterations=int(t)), color=colour, linewidth=0.8)
    theorem.set(
        xlabel="eigenvalue / trace", ylabel="eigenvalue after IterNorm", title="Theorem 1: dots on lines"
    )
    second = results["theorem-2"]
    for colour, (t, values) in zip(COLOURS, second["curves"].items(), strict=False):
        convex.plot(second["collapsed_share"], values, color=colour, label=f"T = {t}")
    convex.axvline(0.25, color="0.7", linewidth=0.8, zorder=0)
    convex.set(xlabel="first of four eigenvalues / trace", ylabel="trace loss")
    convex.set_title("Theorem 2: least at 1/4; flat at T = 0")
    convex.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.4, 0.92))
    ranks = range(1, len(results["floor"]["floors"]) + 1)
    floor.plot(ranks, results["floor"]["floors"], color=COLOURS[0], label="floor, T = 4")
    r, found = zip(*results["floor"]["points"], strict=True)
    floor.plot(r, found, "o", color=COLOURS[5], markersize=3, label="uniform spectra")
    floor.set(
        xlabel=f"rank r of {len(ranks)}", ylabel="trace loss", title="the floor rises as the rank falls"
    )
    floor.legend(fontsize=7)
    for axes in (curves, theorem, convex, floor):
        axes.title.set_fontsize(9)
    return figure
