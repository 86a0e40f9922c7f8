"""The theory, measured: how far the package's functions are from each statement, over random cases.

tests/losses proves the same statements as properties, in exact rationals where it must.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import (
    embeddings_with,
    harmonic_frame,
    orthonormal,
    trace_loss_of,
)
from solo_intl.experiments.analysis.theory_report import theory_claims, theory_figure, theory_rows
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


def _least(values: Sequence[float]) -> float:
    """The least of them, and NaN if any is: `min` passes over NaN, and a claim would then hold by it."""
    return torch.tensor(values, dtype=torch.float64).min().item()


def _greatest(values: Sequence[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).max().item()


def _generator(settings: DictConfig) -> torch.Generator:
    return torch.Generator().manual_seed(int(settings.seed))


def _combination(settings: DictConfig, case: int) -> tuple[str, int, int]:
    """Axis and T of a case, each with each in turn, and how often all had been taken before."""
    pairs = list(itertools.product(AXES, settings.iterations))
    return *pairs[case % len(pairs)], case // len(pairs)


def _map(settings: DictConfig) -> dict[str, Any]:
    """Least margins of Propositions 1 and 2 and of concavity for x in (0, 1/2], relative to x."""
    g = _generator(settings)
    low, high = (
        (10 ** (-6 * torch.rand(2, settings.cases, generator=g, dtype=torch.float64)) / 2).sort(0).values
    )
    grid = torch.logspace(-6, 0, 121, dtype=torch.float64)
    margins: dict[str, float] = {}
    for name, iterations in (("proposition-1", 4), ("proposition-2", 3), ("concavity", 4)):
        found = []
        for t in range(int(name == "concavity"), iterations + 1):
            at_low, at_high = (spectral_map(x, iterations=t) for x in (low, high))
            if name == "proposition-1":
                margin = torch.stack([(at_high - at_low) / (high - low), 1 - at_high])
            elif name == "proposition-2":
                margin = (spectral_map(low, iterations=t + 1) - at_low) / low
            else:
                chord, apart = (at_low + at_high) / 2, (high - low) / high > 1e-3
                margin = ((spectral_map((low + high) / 2, iterations=t) - chord) / high)[apart]
            found.append(margin.min().item())
        margins[name] = _least(found)
    curves = {str(t): spectral_map(grid, iterations=t).tolist() for t in settings.iterations}
    return {"margins": margins, "x": grid.tolist(), "curves": curves}


def _theorem_1(settings: DictConfig) -> dict[str, Any]:
    """Eigenvalues after IterNorm beside h_T(lambda / tr): [x, found], and the greatest relative error."""
    g, errors = _generator(settings), []
    points: dict[str, list[list[float]]] = {str(t): [] for t in settings.iterations}
    for case in range(settings.cases):
        axis, t, turn = _combination(settings, case)
        n = int(torch.randint(4, 33, (1,), generator=g))
        r = n if turn % 3 else n // 2  # every third covariance of an axis and a T is singular
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
        errors.append(((found - expected) / expected).abs().max().item())
        if len(points[str(t)]) < 60:
            points[str(t)] += torch.stack([x, found], 1).tolist()
    return {"worst_relative_error": _greatest(errors), "points": points}


def _simplex(g: torch.Generator, n: int) -> Tensor:
    x = -torch.rand(n, generator=g, dtype=torch.float64).log()
    return x / x.sum()


def _theorem_2(settings: DictConfig) -> dict[str, Any]:
    """Convexity along random segments, minimum, KKT residual; T = 0 with evenly mixed eigenvectors."""
    g = _generator(settings)
    found: list[tuple[Tensor, ...]] = []
    mixing = torch.eye(4, dtype=torch.float64) - 0.5  # a reflection with entries +-1/2
    for case in range(settings.cases):
        t, n = CONVEX_T[case % len(CONVEX_T)], 4 + case % 5
        u, x, y = orthonormal(n, n, g), _simplex(g, n), _simplex(g, n)
        ends = trace_loss_of(torch.stack([x, y]), u, iterations=t).mean()
        middle = trace_loss_of((x + y) / 2, u, iterations=t)
        convex = (ends - middle) / (x - y).square().sum()
        uniform = torch.full((n,), 1 / n, dtype=torch.float64, requires_grad=True)
        least = trace_loss_of(uniform, u, iterations=t)
        (gradient,) = torch.autograd.grad(least, uniform)
        residual = (gradient - gradient.mean()).abs().max() / gradient.abs().max()
        excess = (trace_loss_of(x, u, iterations=t) - least) / (x - 1 / n).square().sum()
        at_0 = trace_loss_of(torch.stack([_simplex(g, 4), _simplex(g, 4)]), mixing, iterations=0)
        found.append((convex, excess.detach(), residual, at_0.diff().abs()[0]))
    convexity, excesses, residuals, spreads = (
        [value.item() for value in values] for values in zip(*found, strict=True)
    )
    weight = torch.linspace(0, 1, SEGMENT, dtype=torch.float64)[:, None]
    segment = (1 - weight) * torch.tensor([1.0, 0, 0, 0]) + weight * torch.tensor([0, 1 / 3, 1 / 3, 1 / 3])
    curves = {str(t): trace_loss_of(segment, mixing, iterations=t).tolist() for t in (0, *CONVEX_T)}
    return {
        "convexity_margin": _least(convexity),
        "excess_margin": _least(excesses),
        "kkt_residual": _greatest(residuals),
        "spread_at_no_iterations": _greatest(spreads),
        "collapsed_share": (1 - weight[:, 0]).tolist(),
        "curves": curves,
    }


def _floor(settings: DictConfig) -> dict[str, Any]:
    """Random batches of every shape beside their floor, and uniform spectra, which attain it."""
    g, over_rank = _generator(settings), 0
    excesses, distances, points = [], [], []
    for case in range(settings.cases):
        axis, t, _ = _combination(settings, case)
        m, d = torch.randint(2, FLOOR_SIZE + 1, (2,), generator=g).tolist()
        tilt = 10 ** (-2 * torch.rand(1, generator=g) * torch.rand(d, generator=g, dtype=torch.float64))
        z = tilt * torch.randn(m, d, generator=g, dtype=torch.float64)
        centred = z - z.mean(1 if axis == "channel" else 0, keepdim=True)
        rank, n = spectrum_rank(m, d, axis), whitened_size(m, d, axis)
        over_rank += int(torch.linalg.matrix_rank(centred, atol=1e-9) > rank)
        floor = trace_loss_floor(n, iterations=t, rank=rank)
        found = trace_loss(iternorm(z, iterations=t, axis=axis), axis=axis).item()
        excesses.append((found - floor) / n)
    for r in range(1, FLOOR_SIZE + 1):
        flat = harmonic_frame(FLOOR_SIZE, r) if r < FLOOR_SIZE else orthonormal(r, r, g)
        for axis in AXES:
            z = embeddings_with(torch.ones(r, dtype=torch.float64), flat, r + 1, g, axis=axis)
            found = trace_loss(iternorm(z, axis=axis), axis=axis).item()
            m, d = z.shape
            floor = trace_loss_floor(FLOOR_SIZE, rank=spectrum_rank(m, d, axis))
            distances.append(abs(found - floor))
            points.append([r, found])
    floors = [trace_loss_floor(FLOOR_SIZE, rank=r) for r in range(1, FLOOR_SIZE + 1)]
    return {
        "least_excess": _least(excesses),
        "distance_of_uniform": _greatest(distances),
        "ranks_above_bound": over_rank,
        "floors": floors,
        "points": points,
    }


def report(results: dict[str, Any], settings: DictConfig) -> Report:
    """The statements, as far as they were met."""
    claims = theory_claims(results, settings)
    return Report(claims, theory_rows(claims), theory_figure(results))
