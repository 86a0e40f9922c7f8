"""What IterNorm does to a spectrum, and the least trace loss it allows.

Source: "Modulate Your Spectrum in Self-Supervised Learning", ICLR 2024, Theorems 1 and 2.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, TypeVar

from torch import Tensor

from .precision import compute_dtype
from .validation import check_axis, check_beta, check_count, check_iterations

Spectrum = TypeVar("Spectrum", float, Tensor)


def spectral_map(x: Spectrum, *, iterations: int = 4) -> Spectrum:
    r"""Eigenvalue map of IterNorm, h_T(x) = x f_T(x)^2 with f_0 = 1, f_{k+1} = (3 f_k - x f_k^3) / 2.

    Theorem 1: an eigenvalue lambda of Sigma becomes h_T(lambda / tr Sigma). On (0, 1) it increases, lies in
    (0, 1), and is concave for T >= 1. It is computed as h_{k+1} = h_k (3 - h_k)^2 / 4, the same function
    without f's growth of 1.5^T at zero.

    Args:
        x: eigenvalue(s) divided by the trace, in [0, 1]; a number or a floating tensor of any shape.
        iterations: T >= 0.

    Returns:
        float for a number; for a tensor one of the same shape (float64 for float64, else float32).

    Raises:
        TypeError: x is neither a number nor a floating tensor, or iterations is not an int.
        ValueError: iterations < 0.

    Example:
        >>> import torch
        >>> from solo_intl.losses import spectral_map
        >>> round(spectral_map(1 / 256, iterations=4), 4)
        0.0952
        >>> spectral_map(torch.tensor([0.0, 0.5, 1.0]), iterations=1)
        tensor([0.0000, 0.7812, 1.0000])
    """
    steps = check_iterations(iterations)
    h: Any
    if isinstance(x, Tensor) and x.is_floating_point():
        h = x.to(compute_dtype([x]))
    elif isinstance(x, Real) and not isinstance(x, bool):
        h = float(x)
    else:
        found = f"dtype {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a number or a floating-point tensor; found {found}")
    for _ in range(steps):
        h = h * (3 - h) * (3 - h) / 4
    return h


def trace_loss_floor(n: int, *, iterations: int = 4, rank: int | None = None) -> float:
    """Least trace loss of one view, (n - r h_T(1/r))^2 / n, attained by r equal eigenvalues.

    Theorem 2 with the rank that centring leaves: r < n eigenvalues share the trace and the rest stay zero, so
    the trace of the whitened covariance is at most r h_T(1/r). The excess over this floor measures collapse.

    Args:
        n: size of Sigma (`whitened_size`): images for axis "channel", channels for "batch".
        iterations: T >= 0.
        rank: r, 1 <= r <= n (`spectrum_rank`); n when None.

    Raises:
        TypeError: an argument is not an int.
        ValueError: n < 1, iterations < 0, or rank outside 1..n.

    Example:
        >>> from solo_intl.losses import spectrum_rank, trace_loss_floor
        >>> round(trace_loss_floor(256), 2)
        209.6
        >>> round(trace_loss_floor(256, rank=spectrum_rank(256, 128)), 2)
        211.78
    """
    n = check_count(n, "n", minimum=1)
    r = n if rank is None else check_count(rank, "rank", minimum=1)
    if r > n:
        raise ValueError(f"rank must be at most n = {n}; found {r}")
    return (n - r * spectral_map(1 / r, iterations=iterations)) ** 2 / n


def whitened_size(m: int, d: int, axis: str = "channel") -> int:
    """Size of the covariance that is whitened: m images for axis "channel", d channels for "batch".

    Raises:
        TypeError: m or d is not an int.
        ValueError: m or d < 2, or an unknown axis.

    Example:
        >>> from solo_intl.losses import whitened_size
        >>> whitened_size(256, 2048), whitened_size(256, 2048, "batch")
        (256, 2048)
    """
    check_axis(axis)
    m, d = check_count(m, "m", minimum=2), check_count(d, "d", minimum=2)
    return m if axis == "channel" else d


def spectrum_rank(m: int, d: int, axis: str = "channel") -> int:
    """Greatest rank of the centred covariance: min(m, d - 1) for axis "channel", min(d, m - 1) for "batch".

    Raises:
        TypeError: m or d is not an int.
        ValueError: m or d < 2, or an unknown axis.

    Example:
        >>> from solo_intl.losses import spectrum_rank
        >>> spectrum_rank(256, 128), spectrum_rank(256, 2048, "batch")
        (127, 255)
    """
    n = whitened_size(m, d, axis)
    return min(n, (d if axis == "channel" else m) - 1)


def default_beta(size: int) -> float:
    """Weight of the trace loss by the paper's rule, 0.01 (log2(size) - 3).

    Args:
        size: size of Sigma (`whitened_size`), of the global batch when it is gathered.

    Raises:
        TypeError: size is not an int.
        ValueError: size <= 8, where the rule gives nothing positive: beta must then be given.

    Example:
        >>> from solo_intl.losses import default_beta
        >>> default_beta(256)
        0.05
    """
    size = check_count(size, "size", minimum=1)
    if size <= 8:
        raise ValueError(
            f"beta must be given: its rule 0.01 * (log2(size) - 3) needs a whitened size > 8; found {size}"
        )
    return 0.01 * (math.log2(size) - 3)


def resolve_beta(beta: float | None, m: int, d: int, axis: str) -> float:
    """The beta given, checked, or the rule's for embeddings [m, d]."""
    given = check_beta(beta)
    return default_beta(whitened_size(m, d, axis)) if given is None else given
