"""IterNorm, the trace loss and the INTL loss as functions.

Source: "Modulate Your Spectrum in Self-Supervised Learning" (INTL), ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .precision import compute_dtype, matmul, without_autocast
from .spectrum import resolve_beta
from .validation import (
    check_axis,
    check_embeddings,
    check_finite_values,
    check_iterations,
    check_views,
    named,
)

# In Sigma's null space P grows as 1.5^k and its cube multiplies rounding noise: run straight through, fp32
# loses digits at T = 8 and overflows by T = 16. T steps are t steps, then T - t on the result, so a new start
# from the data every few steps is the same function, without the growth.
_STEPS_PER_COVARIANCE = 4


class INTLOutput(NamedTuple):
    """The loss and its parts, scalars: loss = invariance + beta * trace."""

    loss: Tensor
    invariance: Tensor
    trace: Tensor


def iternorm(z: Tensor, *, iterations: int = 4, axis: str = "channel", check_finite: bool = False) -> Tensor:
    """Whiten embeddings by T steps of Newton's iteration.

    Sigma_N = Sigma / tr Sigma; P_0 = I; P_{k+1} = (3 P_k - P_k^3 Sigma_N) / 2; the result is
    P_T Zc / sqrt(tr Sigma), whose covariance has the eigenvalues `spectral_map(lambda / tr Sigma)`.

    Args:
        z: embeddings [m, d], m images of d channels, any floating dtype.
        iterations: T >= 0; T = 0 only centres and divides by sqrt(tr Sigma).
        axis: "channel" centres each row over its d channels, Sigma = Zc Zc^T / (d - 1) [m, m];
            "batch" centres each column over the m images, Sigma = Zc^T Zc / (m - 1) [d, d] and Zhat = Zc P_T.
        check_finite: raise on NaN or infinite input, at the cost of waiting for the device.

    Returns:
        Whitened embeddings [m, d], without unit: scaling or shifting the input changes nothing. float64 for
        float64 input, else float32, under autocast too. tr Sigma = 0 gives zeros and zero gradient.

    Raises:
        TypeError: z is not a floating tensor, or iterations is not an int.
        ValueError: z is not [m, d] with m, d >= 2; iterations < 0; unknown axis; non-finite z if checked.

    Example:
        >>> import torch
        >>> from solo_intl.losses import iternorm
        >>> z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
        >>> z_hat = iternorm(z, iterations=9, axis="batch")
        >>> torch.allclose(z_hat.T @ z_hat / 63, torch.eye(16), atol=1e-4)
        True
    """
    steps = check_iterations(iterations)
    check_axis(axis)
    check_embeddings(z, "z")
    if check_finite:
        check_finite_values([("z", z)])
    with without_autocast(z.device):
        return _iternorm(z.to(compute_dtype([z])), steps, axis)


def trace_loss(z_hat: Tensor, *, axis: str = "channel") -> Tensor:
    """Distance of the whitened covariance's diagonal from one, sum_i (1 - Sigmahat_ii)^2.

    Sigmahat_ii is ||row i||^2 / (d - 1) over the m rows for axis "channel", and ||column i||^2 / (m - 1) over
    the d columns for axis "batch".

    Args:
        z_hat: embeddings whitened by `iternorm` along the same axis, [m, d].
        axis: "channel" or "batch".

    Returns:
        Scalar >= 0, float64 for float64 input, else float32; `trace_loss_floor` is its least value.

    Raises:
        TypeError: z_hat is not a floating tensor.
        ValueError: z_hat is not [m, d] with m, d >= 2, or unknown axis.

    Example:
        >>> import torch
        >>> from solo_intl.losses import trace_loss
        >>> trace_loss(torch.eye(4))  # squared rows are 1, d - 1 is 3: 4 (1 - 1/3)^2
        tensor(1.7778)
    """
    check_axis(axis)
    check_embeddings(z_hat, "z_hat")
    with without_autocast(z_hat.device):
        return _trace_loss(z_hat.to(compute_dtype([z_hat])), axis)


def intl_loss_func(
    views: Sequence[Tensor],
    target: Tensor | None = None,
    *,
    beta: float | None = None,
    iterations: int = 4,
    axis: str = "channel",
    check_finite: bool = False,
) -> INTLOutput:
    """INTL loss of two or more views, or of one or more views against a momentum target.

    Zhat_i = `iternorm`(view i), INTL_i = `trace_loss`(Zhat_i), norm_mse(A, B) = 2 - 2 mean_k cos(a_k, b_k)
    over rows (images), whichever axis is whitened. Means run over the views:

    - no target: invariance = mean_{i >= 1} norm_mse(Zhat_i, Zhat_0), trace = mean_{i >= 1} INTL_i + INTL_0;
    - target (Algorithm b): invariance = mean_i norm_mse(Zhat_target, Zhat_i), trace = mean_i INTL_i.

    Args:
        views: n tensors [m, d] of one shape and device, n >= 2, or n >= 1 with a target.
        target: raw momentum embedding [m, d]; whitened here, receives no gradient.
        beta: weight of the trace loss, any finite number; None is `default_beta` of the whitened size.
        iterations: T >= 0 steps of IterNorm.
        axis: "channel" or "batch", as in `iternorm`.
        check_finite: raise on NaN or infinite input, at the cost of waiting for the device.

    Returns:
        INTLOutput(loss, invariance, trace): scalars, float64 if any input is float64, else float32.
        A zero row of Zhat has cosine 0 and no gradient.

    Raises:
        TypeError: views is no list or tuple of floating tensors; wrong type of target, beta or iterations.
        ValueError: too few views; shapes other than one [m, d] with m, d >= 2; iterations < 0; unknown axis;
            beta not finite, or None at a whitened size <= 8; non-finite values if checked.

    Example:
        >>> import torch
        >>> from solo_intl.losses import default_beta, intl_loss_func, trace_loss_floor
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(16, 32, generator=g)
        >>> out = intl_loss_func([x, x + 0.1 * torch.randn(16, 32, generator=g)])
        >>> bool(out.invariance < 0.1), bool(out.trace > 2 * trace_loss_floor(16))
        (True, True)
        >>> bool(out.loss == out.invariance + default_beta(16) * out.trace)
        True
    """
    steps = check_iterations(iterations)
    check_axis(axis)
    check_views(views, target)
    m, d = views[0].shape
    weight = resolve_beta(beta, m, d, axis)
    tensors = named(views, target)
    if check_finite:
        check_finite_values(tensors)
    dtype = compute_dtype(z for _, z in tensors)
    with without_autocast(views[0].device):
        whitened = [_iternorm(z.to(dtype), steps, axis) for z in views]
        traces = torch.stack([_trace_loss(z_hat, axis) for z_hat in whitened])
        if target is None:
            reference, others = whitened[0], whitened[1:]
            trace = traces[1:].mean() + traces[0]
        else:
            reference, others = _iternorm(target.detach().to(dtype), steps, axis), whitened
            trace = traces.mean()
        invariance = torch.stack([_norm_mse(reference, z_hat) for z_hat in others]).mean()
        return INTLOutput(invariance + weight * trace, invariance, trace)


def _iternorm(z: Tensor, iterations: int, axis: str) -> Tensor:
    dim = 1 if axis == "channel" else 0
    zc = _unit_scale(_centre(_unit_scale(z), dim))
    squared = zc.square().sum()
    constant = squared == 0  # false for NaN, which must reach the loss
    # y y^T = Sigma / tr Sigma; a constant batch is selected away instead of divided by a padded trace.
    y = torch.where(constant, 0.0, zc / torch.where(constant, 1.0, squared).sqrt())
    # P is a polynomial in y y^T and (y y^T)^k y = y (y^T y)^k: either Gram matrix will do; take the smaller.
    tall = y.shape[0] > y.shape[1]
    y = y.mT if tall else y
    for done in range(0, iterations, _STEPS_PER_COVARIANCE):
        y = matmul(_newton(matmul(y, y.mT), min(_STEPS_PER_COVARIANCE, iterations - done)), y)
    return (y.mT if tall else y) * math.sqrt(z.shape[dim] - 1)


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


def _trace_loss(z_hat: Tensor, axis: str) -> Tensor:
    dim = 1 if axis == "channel" else 0
    diagonal = z_hat.square().sum(dim) / (z_hat.shape[dim] - 1)
    return (1 - diagonal).square().sum()


def _norm_mse(a: Tensor, b: Tensor) -> Tensor:
    return 2 - 2 * (_unit_rows(a) * _unit_rows(b)).sum(1).mean()


def _unit_rows(x: Tensor) -> Tensor:
    """Rows over their norms; zeros where the squared norm is zero or below the dtype's normal range."""
    squared = x.square().sum(1, keepdim=True)
    zero = squared < torch.finfo(x.dtype).tiny
    return torch.where(zero, 0.0, x / torch.where(zero, 1.0, squared).sqrt())
