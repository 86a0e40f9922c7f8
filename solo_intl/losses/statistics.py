"""What the loss needs of the whitened embeddings: norms and inner products, one number a row or column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .fast_whitening import fast_whiten
from .gram import GramStatistics
from .whitening import STEPS_PER_COVARIANCE, normalise, whiten


class Statistics(NamedTuple):
    """Of n views whitened to Frobenius scale (Zhat / sqrt(d - 1), or m - 1), the reference first.

    norms [n, m]: squared norms of the rows; products [n - 1, m]: of the rows with the reference's;
    diagonal [n, size of Sigma]: of the covariance of Zhat.
    """

    norms: Tensor
    products: Tensor
    diagonal: Tensor

    def cosines(self) -> Tensor:
        """Of the rows with the reference's, [n - 1, m]; 0 where a norm is 0 or below the dtype's range."""
        zero = self.norms < torch.finfo(self.norms.dtype).tiny
        inverse = torch.where(zero, 0.0, torch.where(zero, 1.0, self.norms).rsqrt())
        return self.products * inverse[0] * inverse[1:]


def statistics(zs: Sequence[Tensor], iterations: int, axis: str, precision: str) -> Statistics:
    """Whiten each z [m, d] by T steps along the axis, reference first; no further than the loss needs."""
    m, d = zs[0].shape
    if axis == "batch" or m > d or iterations == 0:
        return from_whitened([fast_whiten(normalise(z, axis), iterations, precision) for z in zs], axis)
    # only the last few steps can do without the whitened embeddings: see STEPS_PER_COVARIANCE
    last = (iterations - 1) % STEPS_PER_COVARIANCE + 1
    raw = iterations == last
    if not raw:
        zs = [fast_whiten(normalise(z, axis), iterations - last, precision) for z in zs]

    def reference(zs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        ys = [normalise(z, axis) for z in zs] if raw else zs
        return from_whitened([whiten(y, last) for y in ys], axis)[:2]

    norms, products, *_ = GramStatistics.apply(reference, last, raw, precision, *zs)
    return Statistics(norms, products, norms)


def from_whitened(ys: Sequence[Tensor], axis: str) -> Statistics:
    """The same, read off the whitened embeddings."""
    norms = torch.stack([y.square().sum(1) for y in ys])
    products = torch.stack([(ys[0] * y).sum(1) for y in ys[1:]])
    diagonal = norms if axis == "channel" else torch.stack([y.square().sum(0) for y in ys])
    return Statistics(norms, products, diagonal)
