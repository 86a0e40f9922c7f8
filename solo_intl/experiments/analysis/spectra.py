"""Embeddings with a chosen spectrum, the trace loss as a function of it, and spectra of embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from solo_intl.losses import spectral_map


def orthonormal(n: int, r: int, generator: torch.Generator, *, centred: bool = False) -> Tensor:
    """r random orthonormal columns [n, r] in float64, each of mean zero if centred (then r <= n - 1)."""
    columns = torch.randn(n, r, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(columns - columns.mean(0) if centred else columns)[0]


def harmonic_frame(n: int, r: int) -> Tensor:
    """r orthonormal columns [n, r] in float64, waves, so that every row has the squared norm r / n."""
    angles = 2 * math.pi / n * torch.arange(n, dtype=torch.float64)[:, None]
    k = torch.arange(1, r // 2 + 1, dtype=torch.float64)
    waves = [torch.cos(angles * k), torch.sin(angles * k)]
    constant = [torch.full((n, 1), math.sqrt(0.5), dtype=torch.float64)] if r % 2 else []
    return torch.cat(waves + constant, 1) * math.sqrt(2 / n)


def embeddings_with(
    spectrum: Tensor, vectors: Tensor, observations: int, generator: torch.Generator, *, axis: str = "channel"
) -> Tensor:
    """A batch whose covariance has exactly these eigenvalues and eigenvectors.

    Args:
        spectrum: r positive eigenvalues, float64; the other n - r are zero.
        vectors: their orthonormal eigenvectors [n, r].
        observations: k > r: channels for axis "channel", images for "batch".
        generator: draws the rest.
        axis: "channel" gives [n, k], "batch" [k, n].
    """
    centred = orthonormal(observations, len(spectrum), generator, centred=True)
    rows = math.sqrt(observations - 1) * (vectors * spectrum.sqrt()) @ centred.mT
    return rows if axis == "channel" else rows.mT


def trace_loss_of(spectrum: Tensor, vectors: Tensor, *, iterations: int) -> Tensor:
    """Trace loss of embeddings with this normalised spectrum: sum_j (1 - sum_i u_ji^2 h_T(x_i))^2.

    Args:
        spectrum: eigenvalues over the trace [..., n].
        vectors: U [n, n], eigenvectors as columns.
        iterations: T >= 0.

    Example:
        >>> import torch
        >>> trace_loss_of(torch.tensor([0.5, 0.5]), torch.eye(2), iterations=0)
        tensor(0.5000)
    """
    diagonal = spectral_map(spectrum, iterations=iterations) @ vectors.square().mT
    return (1 - diagonal).square().sum(-1)


def covariance_eigenvalues(z: Tensor, *, axis: str = "batch") -> Tensor:
    """Eigenvalues of the centred covariance, descending, in float64: [..., d] of z [..., m, d] for axis
    "batch", [..., m] for "channel".

    Raises:
        torch.linalg.LinAlgError: z is not finite.

    Example:
        >>> import torch
        >>> covariance_eigenvalues(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]))
        tensor([2.6667, 0.6667], dtype=torch.float64)
    """
    rows = (z if axis == "channel" else z.mT).detach().double()
    rows = rows - rows.mean(-1, keepdim=True)
    return torch.linalg.eigvalsh(rows @ rows.mT / (rows.shape[-1] - 1)).flip(-1)
