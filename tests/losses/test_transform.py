"""Claims about `spectral_transform` and the power family:

1. the covariance's eigenvalues lambda become lambda g(lambda)^2, with the eigenvectors kept, on either axis;
2. with Theorem 1's g it is `iternorm`, forward and gradient;
3. p = 0 only centres, p = 1/2 gives the identity covariance, others give lambda^(1 - 2p);
4. its gradient is the derivative, and autocast changes neither it nor the result;
5. a zero eigenvalue reaches g and is not hidden; mistakes are told.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from solo_intl.losses import iternorm, power_function, spectral_transform

both_axes = pytest.mark.parametrize("axis", ["channel", "batch"])


def draw(axis: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Embeddings whose covariance has full rank along the axis, [6, 20] or [20, 6], ill-scaled on purpose."""
    z = torch.randn(6, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = 3 + torch.tensor([5.0, 2.0, 1.0, 0.5, 0.2, 0.1], dtype=torch.float64)[:, None] * z
    return (z if axis == "channel" else z.mT).to(dtype)


def covariance(z: Tensor, axis: str) -> Tensor:
    return torch.cov(z if axis == "channel" else z.mT)


def theorem_1(iterations: int):
    def g(eigenvalues: Tensor) -> Tensor:
        trace = eigenvalues.sum()
        f = torch.ones_like(eigenvalues)
        for _ in range(iterations):
            f = (3 * f - eigenvalues / trace * f**3) / 2
        return f / trace.sqrt()

    return g


@both_axes
def test_changes_eigenvalues_and_keeps_vectors(axis: str) -> None:
    z = draw(axis)
    values, vectors = torch.linalg.eigh(covariance(z, axis))
    sigma = covariance(spectral_transform(z, lambda v: (1 + v).log(), axis=axis), axis)
    expected = (vectors * (values * (1 + values).log() ** 2)) @ vectors.mT
    torch.testing.assert_close(sigma, expected, rtol=1e-9, atol=1e-12)


@both_axes
@pytest.mark.parametrize("iterations", [0, 1, 4, 9])
def test_with_theorem_1s_function_it_is_iternorm(axis: str, iterations: int) -> None:
    z = draw(axis).requires_grad_()
    weights = draw(axis, seed=1)
    transformed = spectral_transform(z, theorem_1(iterations), axis=axis)
    whitened = iternorm(z, iterations=iterations, axis=axis)
    torch.testing.assert_close(transformed, whitened, rtol=1e-8, atol=1e-10)
    gradients = [torch.autograd.grad((weights * out).sum(), z)[0] for out in (transformed, whitened)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


@both_axes
@pytest.mark.parametrize("p", [-0.5, 0, 0.3, 0.5, 0.75])
def test_power_family(axis: str, p: float) -> None:
    z = draw(axis)
    before = torch.linalg.eigvalsh(covariance(z, axis))
    after = torch.linalg.eigvalsh(covariance(spectral_transform(z, power_function(p), axis=axis), axis))
    torch.testing.assert_close(after, before.pow(1 - 2 * p).sort().values, rtol=1e-8, atol=0)


@both_axes
def test_gradient(axis: str) -> None:
    z = draw(axis).requires_grad_()
    for p in (0.3, 0.5):
        assert torch.autograd.gradcheck(lambda x, p=p: spectral_transform(x, power_function(p), axis=axis), z)


@both_axes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(axis: str, dtype: torch.dtype) -> None:
    z = draw(axis, dtype).requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        out = spectral_transform(z, power_function(0.5), axis=axis)
        return out, torch.autograd.grad(out.pow(3).sum(), z)[0]

    outside = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run()
    for value, expected in zip(inside, outside, strict=True):
        assert torch.equal(value, expected)
    assert inside[0].dtype == torch.float32


def test_half_precision_is_computed_in_float32_and_float64_in_float64() -> None:
    assert spectral_transform(draw("batch", torch.float16), power_function(0.5), axis="batch").dtype == (
        torch.float32
    )
    assert spectral_transform(draw("batch"), power_function(0.5), axis="batch").dtype == torch.float64


def test_singular_covariance_is_not_hidden() -> None:
    seen: list[Tensor] = []
    flat = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    out = spectral_transform(flat, lambda v: seen.append(v) or power_function(0.5)(v), axis="batch")
    assert seen[0][0] == 0
    assert not torch.isfinite(out).all()
    assert torch.equal(spectral_transform(flat, power_function(0), axis="batch"), flat)


def test_mistakes_are_told() -> None:
    z = torch.randn(4, 8)
    for g, error, text in (
        (0.5, TypeError, "g must be a function of the eigenvalues; found float"),
        (lambda v: 1.0, TypeError, "g must return a tensor; found float"),
        (lambda v: v.sum(), ValueError, r"g must return shape \(4,\).*found \(\)"),
    ):
        with pytest.raises(error, match=text):
            spectral_transform(z, g)
    with pytest.raises(ValueError, match="axis must be one of"):
        spectral_transform(z, torch.sqrt, axis="rows")
    with pytest.raises(ValueError, match="z must have 2 dimensions"):
        spectral_transform(z[0], torch.sqrt)
    for p, error in (("0.5", TypeError), (True, TypeError), (float("nan"), ValueError)):
        with pytest.raises(error, match="p must be a finite number; found"):
            power_function(p)
