"""The paper's statements about IterNorm's spectrum and INTL, as properties.

h_T is the eigenvalue map (`spectral_map`), F the trace loss as a function of the normalised spectrum x and
the eigenvectors U. Strict inequalities that float64 rounds to equality are proved in exact rationals.

1. recurrence: h_T = x f_T^2 with the published f, and h_{k+1} = h_k (3 - h_k)^2 / 4; `spectral_map` is h_T;
2. Proposition 1: on (0, 1), 0 < h_T < 1 and h_T increases strictly;
3. Proposition 2: on (0, 1), h_{T+1} > h_T;
4. concavity for T >= 1, and the published h_T'';
5. Theorem 1: IterNorm makes h_T(lambda / tr) of each eigenvalue, to condition 1e12, also for m > d;
6. F is what `trace_loss` of `iternorm` computes;
7. Theorem 2 for T >= 1: F is strictly convex on the simplex, its unique minimum is the uniform spectrum,
   where the KKT conditions hold; at T = 0 all of it is false;
8. the floor: no batch is below it, and a uniform spectrum attains it, with and without rank deficit;
9. centring bounds the rank by `spectrum_rank`;
10. edges: T = 0, x = 0, x = 1, beyond 1.

`refuted` shows, beside each property, that it fails when the statement is broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from solo_intl.experiments.analysis.spectra import embeddings_with, harmonic_frame, orthonormal, trace_loss_of
from solo_intl.losses import (
    iternorm,
    spectral_map,
    spectrum_rank,
    trace_loss,
    trace_loss_floor,
    whitened_size,
)

Map = Callable[[Fraction, int], Fraction]
Exact = list[Fraction]
steps = st.integers(0, 4)
some_steps = st.integers(1, 4)
seeds = st.integers(0, 2**31)
axes = st.sampled_from(["channel", "batch"])
unit = st.integers(1, 2**16 - 1).map(lambda k: Fraction(k, 2**16))  # inside (0, 1)


def proved(statement: Callable[..., None], *strategies: Any, examples: int = 150) -> None:
    settings(max_examples=examples, deadline=None, derandomize=True)(given(*strategies)(statement))()


def refuted(statement: Callable[..., None], *strategies: Any) -> None:
    quick = settings(max_examples=50, deadline=None, derandomize=True, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        quick(given(*strategies)(statement))()


def h(x: Fraction, iterations: int) -> Fraction:
    """h_T by the published f, exactly."""
    f = Fraction(1)
    for _ in range(iterations):
        f = (3 * f - x * f**3) / 2
    return x * f**2


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


def proposition_1(x: Fraction, y: Fraction, iterations: int) -> None:
    assume(x != y)
    low, high = h(min(x, y), iterations), h(max(x, y), iterations)
    assert 0 < low < high < 1


def test_proposition_1() -> None:
    proved(proposition_1, unit, unit, steps)
    refuted(proposition_1, unit, unit.map(lambda x: 1 + 2 * x), some_steps)  # beyond 1 it is false


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
        found = torch.linalg.svdvals(rows)[:r].square() / (rows.shape[1] - 1)
        expected = spectral_map(spectrum / spectrum.sum(), iterations=iterations + extra)
        torch.testing.assert_close(found, expected.sort(descending=True).values, rtol=1e-6, atol=0)

    return statement


def test_theorem_1() -> None:
    cases = (seeds, st.integers(4, 24), st.booleans(), st.floats(0, 12), st.integers(0, 9), axes)
    proved(theorem_1(0), *cases)
    refuted(theorem_1(1), *cases)


# F in exact rationals: U is a product of two reflections along integer vectors, so rational and orthogonal


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


def test_edges() -> None:
    for iterations in range(5):
        assert h(Fraction(0), iterations) == spectral_map(0, iterations=iterations) == 0
        assert h(Fraction(1), iterations) == spectral_map(1, iterations=iterations) == 1
        assert h(Fraction(4), iterations) == (4 if iterations == 0 else 1)
    assert spectral_map(0.3, iterations=0) == 0.3
    # beyond 1, where lambda / tr never is: it falls to 0 at 3 and grows without bound from there
    assert h(Fraction(3), 1) == 0
    assert h(Fraction(5), 1) == 5
    assert h(Fraction(6), 2) > 6
