"""What the eigenvalues of a batch of embeddings say about collapse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from solo_intl.losses import iternorm, spectrum_rank, trace_loss, trace_loss_floor, whitened_size

NO_SPREAD = 1e-10  # of the embeddings' energy: what is left of equal rows after rounding
LOWEST = 1e-16  # fp64's resolution: below it a ratio of eigenvalues is rounding


@dataclass(frozen=True)
class Spectrum:
    """Measures of one batch of embeddings [m, d].

    Attributes:
        eigenvalues: float64 [r], falling, r = min(m - 1, d): of the covariance over images, as shares of its
            trace; all zero when the rows are equal.
        log10_inverse_condition: log10(least / greatest eigenvalue), 0 for a uniform spectrum, -16 at lowest.
        effective_rank: RankMe, exp of the entropy of the singular values' shares, from 1 to min(m, d)
            (Garrido et al., "RankMe", ICML 2023, equation 1).
        trace_excess: the trace loss that INTL would find, less the least one that [m, d] can attain.
        std: standard deviation of the rows scaled to length 1, mean over channels, times sqrt(d): 1 when they
            point in all directions alike, 0 when all are equal; low also where few channels are in use.
        mean_cosine: between two different rows, mean over pairs: 1 when all point the same way.
        direction_share: of the variance of the rows scaled to length 1, in its greatest eigenvalue.
    """

    eigenvalues: Tensor
    log10_inverse_condition: float
    effective_rank: float
    trace_excess: float
    std: float
    mean_cosine: float
    direction_share: float

    @property
    def measures(self) -> dict[str, float]:
        """The scalars by name."""
        return {name: value for name, value in vars(self).items() if name != "eigenvalues"}


def measure_spectrum(z: Tensor, *, iterations: int = 4, axis: str = "channel") -> Spectrum:
    """Measure a batch of embeddings; fp64 for the eigenvalues, whatever the precision of the network.

    Args:
        z: embeddings [m, d], m, d >= 2, finite.
        iterations: T of IterNorm, for the trace excess.
        axis: what INTL whitens, for the trace excess.

    Example:
        >>> same = measure_spectrum(torch.ones(8, 4))
        >>> round(same.effective_rank, 3), round(same.std, 6), round(same.mean_cosine, 6)
        (1.0, 0.0, 1.0)
        >>> same.log10_inverse_condition
        -16.0
        >>> even = measure_spectrum(torch.eye(8))
        >>> round(even.effective_rank, 3), round(even.trace_excess, 3), even.log10_inverse_condition > -1e-6
        (8.0, 0.0, True)
    """
    m, d = z.shape
    z = z.detach()
    z = z.cpu() if z.device.type == "mps" else z  # no fp64 there
    exact = z.double()
    unit = F.normalize(exact, dim=1)
    whole, centred = _eigenvalues(exact)
    length, directions = _eigenvalues(unit)
    shares = _shares(centred, whole)
    condition = float(shares[-1] / shares[0]) if shares.any() else 0.0
    trace = trace_loss(iternorm(z.float(), iterations=iterations, axis=axis), axis=axis)
    size, rank = whitened_size(m, d, axis), spectrum_rank(m, d, axis)
    return Spectrum(
        eigenvalues=shares,
        log10_inverse_condition=math.log10(max(condition, LOWEST)),
        effective_rank=_effective_rank(whole),
        trace_excess=float(trace) - trace_loss_floor(size, iterations=iterations, rank=rank),
        std=float(unit.std(dim=0).mean()) * math.sqrt(d),
        mean_cosine=(m * float(unit.mean(dim=0).square().sum()) - 1) / (m - 1),
        direction_share=float(_shares(directions, length)[0]),
    )


def _eigenvalues(exact: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows' second moments and of their covariance, falling, neither divided by a count."""
    m, d = exact.shape
    gram = exact @ exact.mT if m <= d else exact.mT @ exact  # the smaller one: the other eigenvalues are zero
    # LAPACK is as quick on matrices this small as a GPU, and this waits for it once
    gram, mean = gram.cpu(), exact.mean(dim=0).cpu()
    if m <= d:
        spread = gram - gram.mean(dim=0) - gram.mean(dim=1, keepdim=True) + gram.mean()
    else:
        spread = gram - m * torch.outer(mean, mean)
    both = torch.linalg.eigvalsh(torch.stack([gram, spread])).clamp_min(0).flip(1)
    return both[0], both[1, : min(m - 1, d)]


def _shares(centred: Tensor, whole: Tensor) -> Tensor:
    """Of the variance; zeros where rows are equal."""
    flat = bool(centred.sum() <= NO_SPREAD * whole.sum())
    return torch.zeros_like(centred) if flat else centred / centred.sum()


def _effective_rank(squared: Tensor) -> float:
    singular = squared.sqrt()
    shares = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))
