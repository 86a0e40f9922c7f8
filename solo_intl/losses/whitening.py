"""IterNorm by operations that autograd differentiates any number of times: readable, and the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import matmul

# In Sigma's null space P grows as 1.5^k and its cube multiplies rounding noise: run straight through, fp32
# loses digits at T = 8 and overflows by T = 16. T steps are t steps, then T - t on the result, so a new start
# from the data every few steps is the same function, without the growth.
STEPS_PER_COVARIANCE = 4


def normalise(z: Tensor, axis: str) -> Tensor:
    """z centred along the axis, over its Frobenius norm; a constant batch is selected to be zeros."""
    zc = _unit_scale(_centre(_unit_scale(z), 1 if axis == "channel" else 0))
    squared = zc.square().sum()
    constant = squared == 0  # false for NaN, which must reach the loss
    return torch.where(constant, 0.0, zc / torch.where(constant, 1.0, squared).sqrt())


def whiten(y: Tensor, iterations: int) -> Tensor:
    """P_T(y y^T) y for y of Frobenius norm 1."""
    # P is a polynomial in y y^T and (y y^T)^k y = y (y^T y)^k: either Gram matrix will do; take the smaller.
    tall = y.shape[0] > y.shape[1]
    y = y.mT if tall else y
    for done in range(0, iterations, STEPS_PER_COVARIANCE):
        y = matmul(_newton(matmul(y, y.mT), min(STEPS_PER_COVARIANCE, iterations - done)), y)
    return y.mT if tall else y


def _newton(sigma: Tensor, steps: int) -> Tensor:
    """P_steps of P_{k+1} = (3 P_k - P_k^3 sigma) / 2 from P_0 = I, steps >= 1."""
    p = 1.5 * torch.eye(len(sigma), dtype=sigma.dtype, device=sigma.device) - 0.5 * sigma
    for _ in range(steps - 1):
        p = 1.5 * p - 0.5 * matmul(matmul(p, p), matmul(p, sigma))
    return p


def _centre(z: Tensor, dim: int) -> Tensor:
    """z minus its mean. The shift by the first entry cancels (no gradient); it makes constants exactly 0."""
    shifted = z - z.detach().narrow(dim, 0, 1)
    return shifted - shifted.mean(dim, keepdim=True)


def _unit_scale(z: Tensor) -> Tensor:
    """z over a power of two (no rounding) that brings its largest magnitude into [1, 2).

    IterNorm does not depend on the scale, so the factor is a constant to the gradient: no approximation.
    """
    peak = z.detach().abs().amax()
    mantissa, _ = torch.frexp(peak)  # in [1/2, 1)
    return z / torch.where(peak == 0, 1.0, peak / (2 * mantissa))
