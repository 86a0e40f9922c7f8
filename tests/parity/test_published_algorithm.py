"""Claims, in float64 against a plain transcription of the published algorithm, sharing no code with ours:

1. `iternorm` gives the paper's whitened embeddings;
2. loss, invariance and trace agree to 1e-10 (of their size above 1: a trace loss may be almost 0);
3. the gradients of the loss with respect to every view agree to 1e-10 of their size, and the target has none.

Over a grid of m, d (m > d and m = d included), T, axis, number of views, target or none, and conditioning.

In float64 the published recursion itself loses digits as T grows (1e-12 of the gradient at T = 6, 1e-6 at 9).
Beyond T = 6 it is therefore transcribed in a second form, algebraically the same, that does not; the two are
held against each other where both are sharp.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from solo_intl.losses import intl_loss_func, iternorm

SHAPES = [(12, 24), (24, 12), (16, 16), (10, 48)]
CONDITIONING = ["well", "ill", "deficient"]
TOLERANCE = 1e-10


def paper_iternorm(z: Tensor, steps: int, axis: str) -> Tensor:
    m, d = z.shape
    if axis == "channel":
        zc = z - z.sum(1, keepdim=True) / d
        sigma = zc @ zc.T / (d - 1)
    else:
        zc = z - z.sum(0, keepdim=True) / m
        sigma = zc.T @ zc / (m - 1)
    trace = torch.trace(sigma)
    sigma_n = sigma / trace
    p = torch.eye(sigma.shape[0], dtype=z.dtype)
    for _ in range(steps):
        p = (3 * p - p @ p @ p @ sigma_n) / 2
    return (p @ zc if axis == "channel" else zc @ p) / torch.sqrt(trace)


def rearranged_iternorm(z: Tensor, steps: int, axis: str) -> Tensor:
    """P_k and Sigma_N commute: P_k^3 Sigma_N = P_k (P_k Sigma_N P_k), in brackets Zhat_k's own covariance."""
    z_hat = paper_iternorm(z, 0, axis)
    count = z.shape[1 if axis == "channel" else 0] - 1
    for _ in range(steps):
        z_hat = (3 * z_hat - z_hat @ z_hat.T @ z_hat / count) / 2
    return z_hat


def reference_iternorm(z: Tensor, steps: int, axis: str) -> Tensor:
    return (paper_iternorm if steps <= 6 else rearranged_iternorm)(z, steps, axis)


def paper_trace_loss(z_hat: Tensor, axis: str) -> Tensor:
    m, d = z_hat.shape
    covariance = z_hat @ z_hat.T / (d - 1) if axis == "channel" else z_hat.T @ z_hat / (m - 1)
    return ((1 - torch.diag(covariance)) ** 2).sum()


def paper_norm_mse(a: Tensor, b: Tensor) -> Tensor:
    cosines = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return 2 - 2 * cosines.mean()


def paper_loss(
    views: list[Tensor], target: Tensor | None, beta: float, steps: int, axis: str
) -> tuple[Tensor, Tensor, Tensor]:
    z_hats = [reference_iternorm(z, steps, axis) for z in views]
    intl = [paper_trace_loss(z_hat, axis) for z_hat in z_hats]
    if target is None:
        pairs = range(1, len(views))
        invariance = sum(paper_norm_mse(z_hats[i], z_hats[0]) for i in pairs) / len(pairs)
        trace = sum(intl[i] + intl[0] for i in pairs) / len(pairs)
    else:
        teacher = reference_iternorm(target, steps, axis).detach()
        invariance = sum(paper_norm_mse(teacher, z_hat) for z_hat in z_hats) / len(views)
        trace = sum(intl) / len(views)
    return invariance + beta * trace, invariance, trace


def embeddings(count: int, m: int, d: int, conditioning: str) -> list[Tensor]:
    """Correlated views: a common part of the given conditioning and a tenth of another such part each."""
    generator = torch.Generator().manual_seed(m * 1000 + d)

    def draw() -> Tensor:
        z = torch.randn(m, d, generator=generator, dtype=torch.float64)
        if conditioning == "ill":  # singular values from 1 to 1e-5
            u, s, vh = torch.linalg.svd(z, full_matrices=False)
            return u @ torch.diag(torch.logspace(0, -5, len(s), dtype=torch.float64)) @ vh
        if conditioning == "deficient":  # rank 3
            right = torch.randn(3, d, generator=generator, dtype=torch.float64)
            return z[:, :3] @ right
        return 3 * z + 1

    common = draw()
    return [(common + 0.1 * draw()).requires_grad_() for _ in range(count)]


def assert_close(ours: Tensor, paper: Tensor, *, least_size: float = 0.0) -> None:
    assert ours.dtype == torch.float64
    assert (ours - paper).norm().item() <= TOLERANCE * max(paper.norm().item(), least_size)


@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("conditioning", CONDITIONING)
@pytest.mark.parametrize("m, d", SHAPES)
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 6, 9, 13])
def test_iternorm(m: int, d: int, steps: int, axis: str, conditioning: str) -> None:
    (z,) = embeddings(1, m, d, conditioning)
    assert_close(iternorm(z, iterations=steps, axis=axis), reference_iternorm(z, steps, axis))
    if steps <= 6:
        assert_close(rearranged_iternorm(z, steps, axis), paper_iternorm(z, steps, axis))


@pytest.mark.parametrize("views, with_target", [(2, False), (4, False), (1, True), (3, True)])
@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("conditioning", CONDITIONING)
@pytest.mark.parametrize("m, d", SHAPES)
@pytest.mark.parametrize("steps", [0, 1, 4, 6, 9])
def test_loss_parts_and_gradients(
    m: int, d: int, steps: int, axis: str, conditioning: str, views: int, with_target: bool
) -> None:
    zs = embeddings(views + with_target, m, d, conditioning)
    target = zs.pop() if with_target else None
    ours = intl_loss_func(zs, target, beta=0.3, iterations=steps, axis=axis)
    paper = paper_loss(zs, target, 0.3, steps, axis)
    for part, expected in zip(ours, paper, strict=True):
        assert_close(part, expected, least_size=1.0)
    our_gradients = torch.autograd.grad(ours.loss, zs)
    for gradient, expected in zip(our_gradients, torch.autograd.grad(paper[0], zs), strict=True):
        assert_close(gradient, expected)
    if target is not None:
        fresh = target.detach().requires_grad_()
        intl_loss_func(zs, fresh, beta=0.3, iterations=steps, axis=axis).loss.backward()
        assert fresh.grad is None
