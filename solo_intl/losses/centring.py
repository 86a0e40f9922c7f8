"""Embeddings centred by row and scaled, a block of columns at a time: no copy of a view is ever whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# A block of this many fp32 numbers stays in a core's cache from centring to the product that reads it.
_BLOCK = 2**19
_NARROWEST = 512  # columns; below, the products themselves slow down


class Centring(NamedTuple):
    """X_v = unit_v (z_v / 4 - first_v - mean_v), with largest magnitude between 1/2 and 2.

    The quarter keeps differences from overflowing. The shift by a row's first entry makes constant rows
    exactly 0. Units are powers of two, which do not round. first, mean [n, m, 1]; unit [n, 1, 1].
    """

    first: Tensor
    mean: Tensor
    unit: Tensor

    @property
    def slope(self) -> Tensor:
        """dX / dz but for the mean, [n]."""
        return self.unit.flatten() / 4


def centring(zs: Sequence[Tensor]) -> Centring:
    """For the views z [m, d], in two reads of each."""
    first = torch.stack([z[:, :1] for z in zs]) / 4
    mean, peak = torch.zeros_like(first), first.new_zeros(len(zs), 1, 1)
    weight = first.new_full((zs[0].shape[1], 1), 1 / zs[0].shape[1])
    for columns, block in _shifted(zs, first):
        mean += block @ weight[columns]
        low, high = torch.stack([torch.stack(view.aminmax()) for view in block]).unbind(1)
        peak = torch.maximum(peak, torch.maximum(-low, high)[:, None, None])
    # a shifted row holds a 0: its largest magnitude is within a factor of 2 of that after centring
    mantissa, _ = torch.frexp(peak)
    unit = torch.where(peak == 0, 1.0, (2 * mantissa / peak).clamp(max=2.0**126))
    return Centring(first, mean, unit)


def centred(zs: Sequence[Tensor], how: Centring | None) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of X [n, m, columns], each in the memory of the last; of z where there is nothing to do."""
    for columns, block in _shifted(zs, None if how is None else how.first):
        yield columns, block if how is None else block.sub_(how.mean).mul_(how.unit)


def _shifted(zs: Sequence[Tensor], first: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    (m, d), n = zs[0].shape, len(zs)
    width = max(_NARROWEST, _BLOCK // (n * m)) if zs[0].device.type == "cpu" else d
    memory = zs[0].new_empty(n * m * min(width, d))
    for start in range(0, d, width):
        columns = slice(start, min(start + width, d))
        block = memory[: n * m * (columns.stop - start)].view(n, m, -1)
        for i, z in enumerate(zs):
            if first is None:
                block[i].copy_(z[:, columns])
            else:
                torch.add(-first[i], z[:, columns], alpha=0.25, out=block[i])
        yield columns, block
