"""IterNorm, the trace loss and the INTL loss as functions.

Source: "Modulate Your Spectrum in Self-Supervised Learning" (INTL), ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .precision import compute_dtype, small_enough_for_float64, without_autocast
from .spectrum import resolve_beta
from .statistics import statistics
from .validation import (
    check_axis,
    check_embeddings,
    check_finite_values,
    check_iterations,
    check_precision,
    check_views,
    named,
)
from .whitening import normalise, whiten


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
        y = whiten(normalise(z.to(compute_dtype([z])), axis), steps)
        return y * math.sqrt(z.shape[1 if axis == "channel" else 0] - 1)


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
        dim = 1 if axis == "channel" else 0
        diagonal = z_hat.to(compute_dtype([z_hat])).square().sum(dim) / (z_hat.shape[dim] - 1)
        return (1 - diagonal).square().sum()


def intl_loss_func(
    views: Sequence[Tensor],
    target: Tensor | None = None,
    *,
    beta: float | None = None,
    iterations: int = 4,
    axis: str = "channel",
    check_finite: bool = False,
    precision: str = "fp32",
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
        precision: of the products that make the Gram matrices, X X^T: "fp32", "bf16" (on a CPU) or "tf32" (on
            CUDA). docs/loss.md bounds the error. All else is fp32, gradients' products included; with "fp32",
            batches of at most 32 images are computed in fp64.

    Returns:
        INTLOutput(loss, invariance, trace): scalars, float64 if any input is float64, else float32.
        A zero row of Zhat has cosine 0 and no gradient.

    Raises:
        TypeError: views is no list or tuple of floating tensors; wrong type of target, beta or iterations.
        ValueError: too few views; shapes other than one [m, d] with m, d >= 2; iterations < 0; unknown axis;
            beta not finite, or None at a whitened size <= 8; non-finite values if checked; unknown precision,
            or one that the device lacks.

    Example:
        >>> import torch
        >>> from solo_intl.losses import default_beta, intl_loss_func, trace_loss_floor
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(16, 32, generator=g)
        >>> out = intl_loss_func([x, x + 0.1 * torch.randn(16, 32, generator=g)])
        >>> bool(out.invariance < 0.1), bool(out.trace > 2 * trace_loss_floor(16))
        (True, True)
        >>> bool(torch.isclose(out.loss, out.invariance + default_beta(16) * out.trace))
        True
    """
    steps = check_iterations(iterations)
    check_axis(axis)
    check_views(views, target)
    m, d = views[0].shape
    check_precision(precision, views[0].device)
    weight = resolve_beta(beta, m, d, axis)
    tensors = named(views, target)
    if check_finite:
        check_finite_values(tensors)
    dtype = compute_dtype(z for _, z in tensors)
    with without_autocast(views[0].device):
        ordered = [z.to(dtype) for z in (views if target is None else [target.detach(), *views])]
        if precision == "fp32" and small_enough_for_float64(m, views[0].device):
            ordered = [z.double() for z in ordered]
        found = statistics(ordered, steps, axis, precision)
        traces = (1 - found.diagonal).square().sum(1)
        trace = traces[1:].mean() + (traces[0] if target is None else 0)
        invariance = 2 - 2 * found.cosines().mean()
        loss = invariance + weight * trace
        return INTLOutput(loss.to(dtype), invariance.to(dtype), trace.to(dtype))
