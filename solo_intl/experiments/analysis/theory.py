"""The theory, measured: how far the package's functions are from each statement, over random cases.

tests/losses/test_theory.py proves the same statements as properties, in exact rationals where it must.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_intl.experiments.analysis.claims import Claim, Report
from solo_intl.experiments.analysis.drawing import COLOURS, panels
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import (
    embeddings_with,
    harmonic_frame,
    orthonormal,
    trace_loss_of,
)
from solo_intl.losses import (
    iternorm,
    spectral_map,
    spectrum_rank,
    trace_loss,
    trace_loss_floor,
    whitened_size,
)

AXES = ("channel", "batch")
CONVEX_T = (1, 2, 4)
FLOOR_SIZE, SEGMENT = 24, 101  # size of Sigma in the floor's panel; points of a drawn segment


def cells(settings: DictConfig) -> dict[str, Cell]:
    parts = {"map": _map, "theorem-1": _theorem_1, "theorem-2": _theorem_2, "floor": _floor}
    return {name: partial(measure, settings) for name, measure in parts.items()}


def _generator(settings: DictConfig) -> torch.Generator:
    return torch.Generator().manual_seed(int(settings.seed))


def _map(settings: DictConfig) -> dict[str, Any]:
    """Least margins of Propositions 1 and 2 and of concavity for x in (0, 1/2], relative to x."""
    g = _generator(settings)
    low, high = (
        (10 ** (-6 * torch.rand(2, settings.cases, generator=g, dtype=torch.float64)) / 2).sort(0).values
    )
    grid = torch.logspace(-6, 0, 121, dtype=torch.float64)
    margins: dict[str, float] = {}
    for name, iterations in (("proposition-1", 4), ("proposition-2", 3), ("concavity", 4)):
        worst = math.inf
        for t in range(int(name == "concavity"), iterations + 1):
            at_low, at_high = (spectral_map(x, iterations=t) for x in (low, high))
            if name == "proposition-1":
                margin = torch.stack([(at_high - at_low) / (high - low), 1 - at_high])
            elif name == "proposition-2":
                margin = (spectral_map(low, iterations=t + 1) - at_low) / low
            else:
                chord, apart = (at_low + at_high) / 2, (high - low) / high > 1e-3
                margin = ((spectral_map((low + high) / 2, iterations=t) - chord) / high)[apart]
            worst = min(worst, margin.min().item())
        margins[name] = worst
    curves = {str(t): spectral_map(grid, iterations=t).tolist() for t in settings.iterations}
    return {"margins": margins, "x": grid.tolist(), "curves": curves}


def _theorem_1(settings: DictConfig) -> dict[str, Any]:
    """Eigenvalues after IterNorm beside h_T(lambda / tr): [x, found], and the greatest relative error."""
    g, worst = _generator(settings), 0.0
    points: dict[str, list[list[float]]] = {str(t): [] for t in settings.iterations}
    for case in range(settings.cases):
        axis, t = AXES[case % 2], settings.iterations[case % len(settings.iterations)]
        n = int(torch.randint(4, 33, (1,), generator=g))
        r = n if case % 3 else n // 2  # every third covariance is singular
        drop = torch.rand(r, generator=g, dtype=torch.float64)
        drop[0], drop[-1] = 0, 1
        spectrum = settings.condition ** (-drop)
        rows = iternorm(
            embeddings_with(spectrum, orthonormal(n, r, g), r + 8, g, axis=axis), iterations=t, axis=axis
        )
        rows = rows if axis == "channel" else rows.mT
        # singular values, not eigenvalues of the covariance: those lose 1e-12 to rounding
        found = torch.linalg.svdvals(rows)[:r].square() / (rows.shape[1] - 1)
        x = (spectrum / spectrum.sum()).sort(descending=True).values
        expected = spectral_map(x, iterations=t)
        worst = max(worst, ((found - expected) / expected).abs().max().item())
        if len(points[str(t)]) < 60:
            points[str(t)] += torch.stack([x, found], 1).tolist()
    return {"worst_relative_error": worst, "points": points}


def _simplex(g: torch.Generator, n: int) -> Tensor:
    x = -torch.rand(n, generator=g, dtype=torch.float64).log()
    return x / x.sum()


def _theorem_2(settings: DictConfig) -> dict[str, Any]:
    """Convexity along random segments, minimum, KKT residual; T = 0 with evenly mixed eigenvectors."""
    g = _generator(settings)
    convex, excess, residual, spread_at_0 = math.inf, math.inf, 0.0, 0.0
    mixing = torch.eye(4, dtype=torch.float64) - 0.5  # a reflection with entries +-1/2
    for case in range(settings.cases):
        t, n = CONVEX_T[case % len(CONVEX_T)], 4 + case % 5
        u, x, y = orthonormal(n, n, g), _simplex(g, n), _simplex(g, n)
        ends = trace_loss_of(torch.stack([x, y]), u, iterations=t).mean()
        middle = trace_loss_of((x + y) / 2, u, iterations=t)
        convex = min(convex, ((ends - middle) / (x - y).square().sum()).item())
        uniform = torch.full((n,), 1 / n, dtype=torch.float64, requires_grad=True)
        least = trace_loss_of(uniform, u, iterations=t)
        (gradient,) = torch.autograd.grad(least, uniform)
        residual = max(residual, ((gradient - gradient.mean()).abs().max() / gradient.abs().max()).item())
        over = (trace_loss_of(x, u, iterations=t) - least) / (x - 1 / n).square().sum()
        excess = min(excess, over.item())
        at_0 = trace_loss_of(torch.stack([_simplex(g, 4), _simplex(g, 4)]), mixing, iterations=0)
        spread_at_0 = max(spread_at_0, at_0.diff().abs().item())
    weight = torch.linspace(0, 1, SEGMENT, dtype=torch.float64)[:, None]
    segment = (1 - weight) * torch.tensor([1.0, 0, 0, 0]) + weight * torch.tensor([0, 1 / 3, 1 / 3, 1 / 3])
    curves = {str(t): trace_loss_of(segment, mixing, iterations=t).tolist() for t in (0, *CONVEX_T)}
    return {
        "convexity_margin": convex,
        "excess_margin": excess,
        "kkt_residual": residual,
        "spread_at_no_iterations": spread_at_0,
        "collapsed_share": (1 - weight[:, 0]).tolist(),
        "curves": curves,
    }


def _floor(settings: DictConfig) -> dict[str, Any]:
    """Random batches of every shape beside their floor, and uniform spectra, which attain it."""
    g, least, attained, over_rank = _generator(settings), math.inf, 0.0, 0
    points = []
    for case in range(settings.cases):
        axis, t = AXES[case % 2], settings.iterations[case % len(settings.iterations)]
        m, d = torch.randint(2, FLOOR_SIZE + 1, (2,), generator=g).tolist()
        tilt = 10 ** (-2 * torch.rand(1, generator=g) * torch.rand(d, generator=g, dtype=torch.float64))
        z = tilt * torch.randn(m, d, generator=g, dtype=torch.float64)
        centred = z - z.mean(1 if axis == "channel" else 0, keepdim=True)
        rank, n = spectrum_rank(m, d, axis), whitened_size(m, d, axis)
        over_rank += int(torch.linalg.matrix_rank(centred, atol=1e-9) > rank)
        floor = trace_loss_floor(n, iterations=t, rank=rank)
        found = trace_loss(iternorm(z, iterations=t, axis=axis), axis=axis).item()
        least = min(least, (found - floor) / n)
    for r in range(1, FLOOR_SIZE + 1):
        flat = harmonic_frame(FLOOR_SIZE, r) if r < FLOOR_SIZE else orthonormal(r, r, g)
        for axis in AXES:
            z = embeddings_with(torch.ones(r, dtype=torch.float64), flat, r + 1, g, axis=axis)
            found = trace_loss(iternorm(z, axis=axis), axis=axis).item()
            m, d = z.shape
            floor = trace_loss_floor(FLOOR_SIZE, rank=spectrum_rank(m, d, axis))
            attained = max(attained, abs(found - floor))
            points.append([r, found])
    floors = [trace_loss_floor(FLOOR_SIZE, rank=r) for r in range(1, FLOOR_SIZE + 1)]
    return {
        "least_excess": least,
        "distance_of_uniform": attained,
        "ranks_above_bound": over_rank,
        "floors": floors,
        "points": points,
    }


def report(results: dict[str, Any], settings: DictConfig) -> Report:
    margins = results["map"]["margins"]
    first, second, floor = results["theorem-1"], results["theorem-2"], results["floor"]
    cases = f"{settings.cases} random cases"

    def claim(name: str, statement: str, criterion: str, holds: bool, **measured: float) -> Claim:
        rounded = {key: float(f"{value:.4g}") for key, value in measured.items()}
        return Claim(name, statement, "paper, theory", f"{criterion}, over {cases}", rounded, bool(holds))

    above = "least margin above 0 for x in (0, 1/2] and T <= 4, where float64 does not round it away"
    claims = [
        claim(
            "theorem-1",
            f"IterNorm makes h_T(lambda / tr) of each eigenvalue, to condition {settings.condition:g}",
            "greatest relative error below 1e-6",
            first["worst_relative_error"] < 1e-6,
            error=first["worst_relative_error"],
        ),
        claim(
            "proposition-1",
            "on (0, 1), h_T lies in (0, 1) and increases",
            above,
            margins["proposition-1"] > 0,
            margin=margins["proposition-1"],
        ),
        claim(
            "proposition-2",
            "h_{T+1} > h_T on (0, 1)",
            above,
            margins["proposition-2"] > 0,
            margin=margins["proposition-2"],
        ),
        claim(
            "concavity",
            "h_T is concave for T >= 1",
            above,
            margins["concavity"] > 0,
            margin=margins["concavity"],
        ),
        claim(
            "theorem-2-convex",
            "the trace loss is strictly convex in the normalised spectrum for T >= 1",
            "chord over curve, by squared length of the segment, above 0 on each",
            second["convexity_margin"] > 0,
            margin=second["convexity_margin"],
        ),
        claim(
            "theorem-2-minimum",
            "its unique minimum is the uniform spectrum",
            "excess over the uniform one, by squared distance, above 0; relative KKT residual below 1e-6",
            second["excess_margin"] > 0 and second["kkt_residual"] < 1e-6,
            margin=second["excess_margin"],
            residual=second["kkt_residual"],
        ),
        claim(
            "theorem-2-needs-iterations",
            "at T = 0 Theorem 2 is false",
            "with eigenvectors that mix alike the trace loss is the same, to 1e-12, whatever the spectrum",
            second["spread_at_no_iterations"] < 1e-12,
            spread=second["spread_at_no_iterations"],
        ),
        claim(
            "floor",
            "no batch's trace loss is below trace_loss_floor at the rank that centring leaves",
            "least excess per eigenvalue above -1e-12; uniform spectra of every rank attain it to 1e-9",
            floor["least_excess"] > -1e-12 and floor["distance_of_uniform"] < 1e-9,
            excess=floor["least_excess"],
            distance=floor["distance_of_uniform"],
        ),
        claim(
            "rank",
            "centring bounds the rank by min(m, d - 1) (channel) and min(d, m - 1) (batch)",
            "no rank above it",
            floor["ranks_above_bound"] == 0,
            above=floor["ranks_above_bound"],
        ),
    ]
    rows = [
        {"claim": each.name, "measure": key, "value": value}
        for each in claims
        for key, value in each.measured.items()
    ]
    return Report(claims, rows, _figure(results))


def _figure(results: dict[str, Any]) -> Any:
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
