"""Theorem 2 as a property. F is the trace loss as a function of normalised spectrum x and eigenvectors U.

1. F is what `trace_loss` of `iternorm` computes;
2. for T >= 1, F is strictly convex on the simplex, and its unique minimum is the uniform spectrum, where it
   is `trace_loss_floor` and where the KKT conditions hold;
3. at T = 0 all of it is false.

Convexity and minimum are proved in exact rationals. `refuted` shows that a property fails when the statement
is broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from properties import axes, h, proved, refuted, seeds, some_steps, steps, unit

from solo_intl.experiments.analysis.spectra import embeddings_with, orthonormal, trace_loss_of
from solo_intl.losses import iternorm, trace_loss, trace_loss_floor

Exact = list[Fraction]


# U is a product of two reflections along integer vectors, so rational and orthogonal


def reflected(vectors: list[Exact], along: list[int]) -> list[Exact]:
    norm = sum(a * a for a in along)
    if not norm:
        return vectors
    dots = [sum(a * v for a, v in zip(along, row, strict=True)) for row in vectors]
    return [
        [v - Fraction(2 * a, norm) * dot for v, a in zip(row, along, strict=True)]
        for row, dot in zip(vectors, dots, strict=True)
    ]


@st.composite
def rotations(draw: Any, n: int) -> list[Exact]:
    vectors = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    for _ in range(2):
        vectors = reflected(vectors, draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)))
    return vectors


def simplex(n: int) -> Any:
    weights = st.lists(st.integers(1, 60), min_size=n, max_size=n)
    return weights.map(lambda w: [Fraction(k, sum(w)) for k in w])


def exact_loss(x: Exact, vectors: list[Exact], iterations: int) -> Fraction:
    mapped = [h(value, iterations) for value in x]
    diagonal = [sum(u * u * value for u, value in zip(row, mapped, strict=True)) for row in vectors]
    return sum(((1 - value) ** 2 for value in diagonal), Fraction(0))


@st.composite
def points(draw: Any, count: int) -> tuple[list[list[Exact]], Any]:
    n = draw(st.integers(2, 4))
    return draw(rotations(n)), *(draw(simplex(n)) for _ in range(count))


def convexity(case: Any, weight: Fraction, iterations: int) -> None:
    vectors, x, y = case
    assume(x != y)
    between = [weight * a + (1 - weight) * b for a, b in zip(x, y, strict=True)]
    ends = [exact_loss(end, vectors, iterations) for end in (x, y)]
    assert exact_loss(between, vectors, iterations) < weight * ends[0] + (1 - weight) * ends[1]


def unique_minimum(case: Any, iterations: int) -> None:
    vectors, x = case
    n = len(x)
    uniform = [Fraction(1, n)] * n
    assume(x != uniform)
    least = n * (1 - h(Fraction(1, n), iterations)) ** 2
    assert exact_loss(uniform, vectors, iterations) == least
    assert float(least) == pytest.approx(trace_loss_floor(n, iterations=iterations), rel=1e-12)
    assert exact_loss(x, vectors, iterations) > least


def flat(x: list[int]) -> Any:
    """A spectrum beside eigenvectors whose entries are all +-1/2: each adds as much to every Sigmahat_ii."""
    identity = [[Fraction(int(i == j)) for j in range(4)] for i in range(4)]
    return reflected(identity, [1, 1, 1, 1]), [Fraction(k, sum(x)) for k in x]


def test_theorem_2() -> None:
    proved(convexity, points(2), unit, st.integers(1, 2))
    proved(unique_minimum, points(1), st.integers(1, 3))


def test_theorem_2_is_false_at_no_iterations() -> None:
    spectra = st.lists(st.integers(1, 60), min_size=4, max_size=4).map(flat)
    refuted(unique_minimum, spectra, st.just(0))
    refuted(lambda a, b, t: convexity((*a, b[1]), t, 0), spectra, spectra, unit)
    proved(unique_minimum, spectra, some_steps)

    def constant(case: Any) -> None:
        assert exact_loss(case[1], case[0], 0) == 4 * Fraction(3, 4) ** 2

    proved(constant, spectra)


def kkt(shift: float) -> Callable[[int, int, int], None]:
    def statement(seed: int, n: int, iterations: int) -> None:
        """The gradient is the same in every direction: the multiplier of the simplex's constraint."""
        vectors = orthonormal(n, n, torch.Generator().manual_seed(seed))
        x = torch.full((n,), 1 / n, dtype=torch.float64)
        x[0] += shift
        x = (x / x.sum()).requires_grad_()
        (gradient,) = torch.autograd.grad(trace_loss_of(x, vectors, iterations=iterations), x)
        assert gradient.max() - gradient.min() < 1e-10 * gradient.abs().max()

    return statement


def test_kkt_conditions_at_the_uniform_spectrum() -> None:
    proved(kkt(0), seeds, st.integers(2, 64), st.integers(1, 3))
    refuted(kkt(0.1), seeds, st.integers(2, 64), st.integers(1, 3))


def bridge(extra: int) -> Callable[[int, int, int, str], None]:
    def statement(seed: int, n: int, iterations: int, axis: str) -> None:
        g = torch.Generator().manual_seed(seed)
        vectors, spectrum = orthonormal(n, n, g), torch.rand(n, generator=g, dtype=torch.float64) + 1e-3
        z = embeddings_with(spectrum, vectors, n + 5, g, axis=axis)
        found = trace_loss(iternorm(z, iterations=iterations, axis=axis), axis=axis)
        expected = trace_loss_of(spectrum / spectrum.sum(), vectors, iterations=iterations + extra)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)

    return statement


def test_the_loss_of_the_theorem_is_the_packages() -> None:
    proved(bridge(0), seeds, st.integers(2, 16), steps, axes)
    refuted(bridge(1), seeds, st.integers(2, 16), steps, axes)
