"""Claims about `iternorm`, `trace_loss` and `intl_loss_func` in float64:

1. the spectrum of the whitened embeddings is h_T of the input's normalised spectrum, on both axes;
2. whitened embeddings are centred along the axis;
3. first and second derivatives are those of the function (gradcheck), wherever its scale lies;
4. scaling, shifting and permuting images or channels change nothing they should not;
5. loss == invariance + beta * trace, and the parts combine the views as the paper and the authors' code do;
6. a target is detached and whitened inside;
7. by default beta is 0.01 (log2(size) - 3), with m for axis "channel" and d for "batch".
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from solo_intl.losses import (
    default_beta,
    intl_loss_func,
    iternorm,
    spectral_map,
    spectrum_rank,
    trace_loss,
    trace_loss_floor,
    whitened_size,
)

AXES = ["channel", "batch"]
both_axes = pytest.mark.parametrize("axis", AXES)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(z: Tensor, axis: str) -> Tensor:
    zc = z - z.mean(1 if axis == "channel" else 0, keepdim=True)
    return zc @ zc.T / (z.shape[1] - 1) if axis == "channel" else zc.T @ zc / (z.shape[0] - 1)


@both_axes
@pytest.mark.parametrize("shape", [(9, 20), (20, 9), (12, 12)])
@pytest.mark.parametrize("iterations", [0, 1, 2, 4, 5, 9, 13])
def test_whitened_spectrum_is_the_map_of_the_normalised_spectrum(
    shape: tuple[int, int], iterations: int, axis: str
) -> None:
    z = draw(*shape) * torch.logspace(0, -2, shape[1], dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(covariance(z, axis)).clamp(min=0)
    expected = spectral_map(eigenvalues / eigenvalues.sum(), iterations=iterations)
    whitened = iternorm(z, iterations=iterations, axis=axis)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(covariance(whitened, axis)), expected, atol=1e-9, rtol=1e-9
    )


@both_axes
def test_whitened_embeddings_are_centred(axis: str) -> None:
    means = iternorm(draw(9, 20) + 5, axis=axis).mean(1 if axis == "channel" else 0)
    torch.testing.assert_close(means, torch.zeros_like(means))


@both_axes
@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
@pytest.mark.parametrize("iterations", [0, 4, 6])
@pytest.mark.parametrize("scale", [1e-3, 300.0])
def test_gradcheck_iternorm(shape: tuple[int, int], iterations: int, axis: str, scale: float) -> None:
    # Evaluated at scale * unit inputs, so that gradcheck's fixed step suits every scale.
    def function(unit: Tensor) -> Tensor:
        return iternorm(scale * unit, iterations=iterations, axis=axis)

    assert torch.autograd.gradcheck(function, draw(*shape).requires_grad_())


@both_axes
@pytest.mark.parametrize("with_target", [False, True])
def test_gradcheck_loss(axis: str, with_target: bool) -> None:
    target = draw(3, 4, seed=9) if with_target else None

    def function(*views: Tensor) -> Tensor:
        return intl_loss_func(views, target, beta=0.3, axis=axis).loss

    views = tuple(draw(3, 4, seed=i).requires_grad_() for i in range(3))
    assert torch.autograd.gradcheck(function, views)
    assert torch.autograd.gradgradcheck(function, views[:2], fast_mode=True)


@both_axes
def test_scale_and_shift_change_nothing(axis: str) -> None:
    z = draw(10, 16)
    shift = draw(10, 1) if axis == "channel" else draw(1, 16)
    expected = iternorm(z, axis=axis)
    torch.testing.assert_close(iternorm(-7.3 * z, axis=axis), -expected)
    torch.testing.assert_close(iternorm(z + 10 * shift, axis=axis), expected)


@both_axes
def test_permuting_images_or_channels_permutes_the_result_and_keeps_the_loss(axis: str) -> None:
    a, b = draw(10, 16, seed=1), draw(10, 16, seed=2)
    rows, columns = torch.randperm(10), torch.randperm(16)
    torch.testing.assert_close(
        iternorm(a[rows][:, columns], axis=axis), iternorm(a, axis=axis)[rows][:, columns]
    )
    permuted = intl_loss_func([a[rows][:, columns], b[rows][:, columns]], beta=0.1, axis=axis)
    for part, expected in zip(permuted, intl_loss_func([a, b], beta=0.1, axis=axis), strict=True):
        torch.testing.assert_close(part, expected)


def test_two_views_are_exchangeable_and_identical_views_agree() -> None:
    a, b = draw(10, 16, seed=1), draw(10, 16, seed=2)
    for part, swapped in zip(intl_loss_func([a, b]), intl_loss_func([b, a]), strict=True):
        torch.testing.assert_close(part, swapped)
    assert intl_loss_func([a, a]).invariance.abs() < 1e-12


@both_axes
@pytest.mark.parametrize("beta", [0.0, 0.05, -2.0, 7])
def test_loss_is_the_sum_of_its_parts(axis: str, beta: float) -> None:
    out = intl_loss_func([draw(9, 12, seed=i) for i in range(3)], beta=beta, axis=axis)
    assert out.loss == out.invariance + beta * out.trace
    assert all(part.ndim == 0 for part in out)


def norm_mse(a: Tensor, b: Tensor) -> Tensor:
    return 2 - 2 * cosine_similarity(a, b, dim=1).mean()


@both_axes
def test_views_combine_as_published(axis: str) -> None:
    views = [draw(9, 12, seed=i) for i in range(4)]
    hats = [iternorm(z, axis=axis) for z in views]
    traces = [trace_loss(z, axis=axis) for z in hats]
    two = intl_loss_func(views[:2], beta=1, axis=axis)
    torch.testing.assert_close(two.invariance, norm_mse(hats[0], hats[1]))
    torch.testing.assert_close(two.trace, traces[0] + traces[1])
    four = intl_loss_func(views, beta=1, axis=axis)
    torch.testing.assert_close(four.invariance, sum(norm_mse(hats[i], hats[0]) for i in (1, 2, 3)) / 3)
    torch.testing.assert_close(four.trace, sum(traces[1:]) / 3 + traces[0])
    momentum = intl_loss_func(views[1:], views[0], beta=1, axis=axis)
    torch.testing.assert_close(momentum.invariance, four.invariance)
    torch.testing.assert_close(momentum.trace, sum(traces[1:]) / 3)


def test_target_gets_no_gradient() -> None:
    view, target = draw(9, 12, seed=1).requires_grad_(), draw(9, 12, seed=2).requires_grad_()
    intl_loss_func((view,), target).loss.backward()
    assert target.grad is None
    assert view.grad is not None
    assert view.grad.abs().sum() > 0


@both_axes
def test_trace_loss_is_read_off_the_diagonal_of_the_covariance(axis: str) -> None:
    z_hat = iternorm(draw(9, 12), axis=axis)
    expected = (1 - covariance(z_hat, axis).diagonal()).square().sum()
    torch.testing.assert_close(trace_loss(z_hat, axis=axis), expected)


@both_axes
@pytest.mark.parametrize("m, d", [(8, 20), (20, 8), (10, 10)])
def test_no_embedding_is_below_the_floor_and_descent_reaches_it(m: int, d: int, axis: str) -> None:
    floor = trace_loss_floor(whitened_size(m, d, axis), rank=spectrum_rank(m, d, axis))
    z = draw(m, d).requires_grad_()
    optimizer = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = trace_loss(iternorm(z, axis=axis), axis=axis)
        loss.backward()
        return loss

    assert closure() > floor
    optimizer.step(closure)
    assert closure().item() == pytest.approx(floor, rel=1e-6)


def test_default_beta_follows_the_whitened_size() -> None:
    views = [draw(32, 128, seed=i) for i in range(2)]
    for axis, size in (("channel", 32), ("batch", 128)):
        out = intl_loss_func(views, axis=axis)
        assert out.loss == out.invariance + 0.01 * (math.log2(size) - 3) * out.trace
        assert default_beta(size) == 0.01 * (math.log2(size) - 3)
