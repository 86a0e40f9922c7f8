"""Any function of the covariance's eigenvalues as a whitening, and the power family.

Source: "Modulate Your Spectrum in Self-Supervised Learning", ICLR 2024; by Theorem 1 IterNorm is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .precision import compute_dtype, matmul, without_autocast
from .validation import check_axis, check_embeddings

SpectralFunction = Callable[[Tensor], Tensor]


def spectral_transform(z: Tensor, g: SpectralFunction, *, axis: str = "channel") -> Tensor:
    """Multiply centred embeddings by g of their covariance, by eigendecomposition.

    Sigma = U diag(lambda) U^T, Zhat = U diag(g(lambda)) U^T Zc: the covariance of Zhat has the eigenvalues
    lambda g(lambda)^2. g(lambda) = lambda^-1/2 is hard whitening; g(lambda) = f_T(lambda / tr) / sqrt(tr),
    with tr the sum of all eigenvalues, is `iternorm`.

    Args:
        z: embeddings [m, d], m images of d channels, any floating dtype.
        g: maps the eigenvalues [n], ascending, to n factors; it may use all of them, as IterNorm's trace.
            n is m for axis "channel" and d for "batch" (`whitened_size`).
        axis: "channel" centres each row over its d channels, Sigma = Zc Zc^T / (d - 1) [m, m];
            "batch" centres each column over the m images, Sigma = Zc^T Zc / (m - 1) [d, d] and
            Zhat = Zc U diag(g) U^T.

    Returns:
        Transformed embeddings [m, d]; float64 for float64 input, else float32, under autocast too. Nothing is
        padded or clipped: an eigenvalue that is zero, or negative by rounding, reaches g as it is, and what g
        makes of it reaches the result. The gradient divides by differences of eigenvalues, as that of
        `torch.linalg.eigh`, so it is not finite where two are equal. `iternorm` has neither limit.

    Raises:
        TypeError: z is not a floating tensor, or g is not callable or returns no tensor.
        ValueError: z is not [m, d] with m, d >= 2; unknown axis; g's result has another shape.
        torch.linalg.LinAlgError: the decomposition failed (such as for NaN).

    Example:
        >>> import torch
        >>> from solo_intl.losses import power_function, spectral_transform
        >>> z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
        >>> z_hat = spectral_transform(z, power_function(0.5), axis="batch")
        >>> torch.allclose(torch.cov(z_hat.T), torch.eye(8), atol=1e-5)
        True
    """
    check_axis(axis)
    check_embeddings(z, "z")
    if not callable(g):
        raise TypeError(f"g must be a function of the eigenvalues; found {type(g).__name__}")
    dim = 1 if axis == "channel" else 0
    with without_autocast(z.device):
        z = z.to(compute_dtype([z]))
        zc = z - z.mean(dim, keepdim=True)
        rows = zc if axis == "channel" else zc.mT
        eigenvalues, vectors = _Eigh.apply(matmul(rows, rows.mT) / (z.shape[dim] - 1))
        factors = g(eigenvalues)
        if not isinstance(factors, Tensor):
            raise TypeError(f"g must return a tensor; found {type(factors).__name__}")
        if factors.shape != eigenvalues.shape:
            raise ValueError(
                f"g must return shape {tuple(eigenvalues.shape)}, one factor an eigenvalue; "
                f"found {tuple(factors.shape)}"
            )
        transformed = matmul(vectors * factors, matmul(vectors.mT, rows))
        return transformed if axis == "channel" else transformed.mT


def power_function(p: float) -> SpectralFunction:
    """g(lambda) = lambda^-p, for `spectral_transform`: eigenvalues become lambda^(1 - 2p).

    p = 0 only centres, p = 1/2 is hard whitening. For p > 0 every eigenvalue must be positive: centring
    leaves a zero one where `spectrum_rank` < `whitened_size`.

    Raises:
        TypeError: p is not a number.
        ValueError: p is not finite.

    Example:
        >>> import torch
        >>> from solo_intl.losses import power_function
        >>> power_function(0.5)(torch.tensor([0.25, 4.0]))
        tensor([2.0000, 0.5000])
    """
    if isinstance(p, bool) or not isinstance(p, Real):
        raise TypeError(f"p must be a finite number; found {p!r} of type {type(p).__name__}")
    if not math.isfinite(p):
        raise ValueError(f"p must be a finite number; found {p}")
    return lambda eigenvalues: eigenvalues.pow(-float(p))


class _Eigh(torch.autograd.Function):
    """`torch.linalg.eigh` whose gradient ignores autocast, as `precision.matmul`."""

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor]:
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        return eigenvalues, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> Tensor:
        eigenvalues, vectors = ctx.saved_tensors
        with without_autocast(vectors.device):
            gaps = eigenvalues - eigenvalues[:, None]
            gaps.diagonal().fill_(torch.inf)
            inner = torch.diag(grad_values) + matmul(vectors.mT, grad_vectors) / gaps
            return matmul(matmul(vectors, inner), vectors.mT)
