"""The paper's statements about the spectrum, as properties; Theorem 2 has test_theorem_2.py.

h_T is the eigenvalue map (`spectral_map`). Strict inequalities that float64 rounds to equality are proved in
exact rationals.

1. recurrence: h_T = x f_T^2 with the published f, and h_{k+1} = h_k (3 - h_k)^2 / 4; `spectral_map` is h_T;
2. Proposition 1: on (0, 1), 0 < h_T < 1 and h_T increases strictly;
3. Proposition 2: on (0, 1), h_{T+1} > h_T;
4. concavity for T >= 1, and the published h_T'';
5. Theorem 1: IterNorm makes h_T(lambda / tr) of each eigenvalue, to condition 1e12, also for m > d;
6. the floor: no batch is below it, and a uniform spectrum attains it, with and without rank deficit;
7. centring bounds the rank by `spectrum_rank`;
8. edges: T = 0, x = 0, x = 1, beyond 1.

`refuted` shows, beside each property, that it fails when the statement is broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from properties import axes, h, proved, refuted, seeds, some_steps, steps, unit

from solo_intl.experiments.analysis.spectra import embeddings_with, harmonic_frame, orthonormal
from solo_intl.losses import (
    iternorm,
    spectral_map,
    spectrum_rank,
    trace_loss,
    trace_loss_floor,
    whitened_size,
)

Map = Callable[[Fraction, int], Fraction]


def broken_h(x: Fraction, iterations: int) -> Fraction:
    """With f^2 where the paper has f^3."""
    f = Fraction(1)
    for _ in range(iterations):
        f = (3 * f - x * f**2) / 2
    return x * f**2


def recurrence(of: Map) -> Callable[[Fraction, int], None]:
    def statement(x: Fraction, iterations: int) -> None:
        before, after = of(x, iterations), of(x, iterations + 1)
        assert after == before * (3 - before) ** 2 / 4
        assert spectral_map(float(x), iterations=iterations) == pytest.approx(float(before), rel=1e-12)

    return statement


def test_recurrence() -> None:
    beyond = st.fractions(0, 4, max_denominator=2**10)
    proved(recurrence(h), beyond, steps)
    refuted(recurrence(broken_h), beyond, some_steps)


def slope(x: Fraction, iterations: int) -> Fraction:
    """h_T', by the derivative of the published f."""
    f, df = Fraction(1), Fraction(0)
    for _ in range(iterations):
        f, df = (3 * f - x * f**3) / 2, (3 * df - f**3 - 3 * x * f**2 * df) / 2
    return f**2 + 2 * x * f * df


def proposition_1(x: Fraction, y: Fraction, iterations: int) -> None:
    assume(x != y)
    low, high = h(min(x, y), iterations), h(max(x, y), iterations)
    assert 0 < low < high < 1


def increasing(x: Fraction, iterations: int) -> None:
    assert slope(x, iterations) > 0


def test_proposition_1() -> None:
    proved(proposition_1, unit, unit, steps)
    refuted(proposition_1, unit, unit.map(lambda x: 1 + 2 * x), some_steps)  # beyond 1 it is false
    proved(increasing, unit, steps)
    refuted(increasing, unit.map(lambda x: 1 + 2 * x), some_steps)


def proposition_2(x: Fraction, iterations: int) -> None:
    assert h(x, iterations + 1) > h(x, iterations)


def test_proposition_2() -> None:
    proved(proposition_2, unit, steps)
    refuted(proposition_2, unit.map(lambda x: 1 + x), steps)


def concavity(x: Fraction, y: Fraction, weight: Fraction, iterations: int) -> None:
    assume(x != y)
    chord = weight * h(x, iterations) + (1 - weight) * h(y, iterations)
    assert h(weight * x + (1 - weight) * y, iterations) > chord


def test_concavity() -> None:
    proved(concavity, unit, unit, unit, st.integers(1, 3))
    refuted(concavity, unit, unit, unit, st.just(0))  # h_0 is linear


def second_derivative(factor: float) -> Callable[[Fraction, int], None]:
    def statement(x: Fraction, iterations: int) -> None:
        value, slope, bend = float(x), 1.0, 0.0
        for _ in range(iterations):
            bend = factor * (3 - value) * (1 - value) * bend + 1.5 * (value - 2) * slope**2
            slope = 0.75 * (3 - value) * (1 - value) * slope
            value = value * (3 - value) ** 2 / 4
        point = torch.tensor(float(x), dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(spectral_map(point, iterations=iterations), point, create_graph=True)
        (second,) = torch.autograd.grad(first, point)
        assert first.item() == pytest.approx(slope, rel=1e-9)
        assert second.item() == pytest.approx(bend, rel=1e-9, abs=1e-9)
        assert bend < 0

    return statement


def test_second_derivative() -> None:
    half = unit.map(lambda x: x / 2)
    proved(second_derivative(0.75), half, some_steps)
    refuted(second_derivative(0.5), half, st.integers(2, 4))


def theorem_1(extra: int) -> Callable[..., None]:
    def statement(seed: int, n: int, wide: bool, condition: float, iterations: int, axis: str) -> None:
        g = torch.Generator().manual_seed(seed)
        r = n if wide else n // 2
        spectrum = 10 ** (-condition * torch.rand(r, generator=g, dtype=torch.float64))
        spectrum[0], spectrum[-1] = 1.0, 10**-condition
        z = embeddings_with(spectrum, orthonormal(n, r, g), r + (9 if wide else 1), g, axis=axis)
        rows = iternorm(100 * z, iterations=iterations, axis=axis)
        rows = rows if axis == "channel" else rows.mT
        # singular values, not eigenvalues of the covariance: those have lost 1e-12 to rounding
        every = torch.linalg.svdvals(rows).square() / (rows.shape[1] - 1)
        found, zeros = every[:r], every[r:]
        assert (zeros < 1e-20).all()  # h_T(0) = 0
        expected = spectral_map(spectrum / spectrum.sum(), iterations=iterations + extra)
        torch.testing.assert_close(found, expected.sort(descending=True).values, rtol=1e-6, atol=0)

    return statement


def test_theorem_1() -> None:
    cases = (seeds, st.integers(4, 24), st.booleans(), st.floats(0, 12), st.integers(0, 9), axes)
    proved(theorem_1(0), *cases)
    refuted(theorem_1(1), *cases)


def above_floor(scale: float) -> Callable[[int, int, int, int, str], None]:
    def statement(seed: int, m: int, d: int, iterations: int, axis: str) -> None:
        g = torch.Generator().manual_seed(seed)
        tilt = 10 ** (-3 * torch.rand(d, generator=g, dtype=torch.float64))
        z = tilt * torch.randn(m, d, generator=g, dtype=torch.float64)
        n, rank = whitened_size(m, d, axis), spectrum_rank(m, d, axis)
        least = trace_loss_floor(n, iterations=iterations, rank=rank)
        found = trace_loss(iternorm(z, iterations=iterations, axis=axis), axis=axis)
        assert found >= scale * least * (1 - 1e-9)

    return statement


def attains_floor(missing: int) -> Callable[[int, int, int, int, str], None]:
    def statement(seed: int, n: int, r: int, iterations: int, axis: str) -> None:
        """The largest rank that the shape allows: k = n + 1 observations or more, or r + 1 where r < n."""
        g, r = torch.Generator().manual_seed(seed), min(n, r)
        vectors = harmonic_frame(n, r) if r < n else orthonormal(n, n, g)
        z = embeddings_with(torch.ones(r, dtype=torch.float64), vectors, r + 1, g, axis=axis)
        rank = spectrum_rank(*z.shape, axis)
        assert rank == r
        found = trace_loss(iternorm(z, iterations=iterations, axis=axis), axis=axis)
        least = trace_loss_floor(n, iterations=iterations, rank=rank - missing)
        assert found.item() == pytest.approx(least, rel=1e-9, abs=1e-12)

    return statement


def test_floor() -> None:
    sizes = st.integers(2, 24)
    proved(above_floor(1), seeds, sizes, sizes, steps, axes)
    refuted(above_floor(1.5), seeds, sizes, sizes, steps, axes)
    proved(attains_floor(0), seeds, st.integers(3, 24), st.integers(1, 24), steps, axes)
    refuted(attains_floor(1), seeds, st.integers(3, 24), st.integers(2, 24), steps, axes)


def rank_bound(fewer: int) -> Callable[[int, int, int, str], None]:
    def statement(seed: int, m: int, d: int, axis: str) -> None:
        z = torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        centred = z - z.mean(1 if axis == "channel" else 0, keepdim=True)
        assert torch.linalg.matrix_rank(centred, atol=1e-9) <= spectrum_rank(m, d, axis) - fewer

    return statement


def test_rank_bound() -> None:
    sizes = st.integers(2, 24)
    proved(rank_bound(0), seeds, sizes, sizes, axes)
    refuted(rank_bound(1), seeds, sizes, sizes, axes)


def edges(of: Map) -> None:
    for iterations in range(5):
        assert of(Fraction(0), iterations) == spectral_map(0, iterations=iterations) == 0
        assert of(Fraction(1), iterations) == spectral_map(1, iterations=iterations) == 1
        assert of(Fraction(4), iterations) == (4 if iterations == 0 else 1)
    assert of(Fraction(3, 10), 0) == Fraction(3, 10)
    # beyond 1, where lambda / tr never is: it falls to 0 at 3 and grows without bound from there
    assert of(Fraction(3), 1) == 0
    assert of(Fraction(5), 1) == 5
    assert of(Fraction(6), 2) > 6


def test_edges() -> None:
    edges(h)
    assert spectral_map(0.3, iterations=0) == 0.3
    with pytest.raises(AssertionError):
        edges(broken_h)
