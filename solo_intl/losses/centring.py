"""Embeddings centred by row and scaled, a block of columns at a time: no copy of a view is ever whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# A block of this many fp32 numbers, 2 MiB, stays in cache from centring to the product that reads it.
_BLOCK = 2**19
_NARROWEST = 256  # columns; below, the products themselves slow down
_PAD = 16  # rows a power of two apart would fall on the same few cache lines


class Centring(NamedTuple):
    """X_v = unit_v z_v - shift_v - residual_v, of largest magnitude about 1.

    Units are powers of two, which do not round. shift is the scaled mean, rounded; residual is what
    rounding left of the mean, known only once the shift is made. shift, residual [n, m, 1]; unit [n].
    """

    shift: Tensor
    residual: Tensor
    unit: Tensor


def centring(zs: Sequence[Tensor]) -> Centring:
    """For the views z [m, d], the residual still zero."""
    d = zs[0].shape[1]
    weight = zs[0].new_full((d, 1), 1 / d)
    mean = torch.stack([z @ weight for z in zs])
    low, high = (torch.stack([f(z, 1, keepdim=True) for z in zs]) for f in (torch.amin, torch.amax))
    # a row is constant where its ends are equal, and must become exactly 0: its rounded mean might miss it
    mean = torch.where(low == high, low, mean)
    peak = torch.maximum(-low, high).amax((1, 2))
    mantissa, _ = torch.frexp(peak)
    # within normal numbers; times z cannot overflow
    unit = torch.where(peak == 0, 1.0, (mantissa / peak).clamp(2.0**-126, 2.0**126))
    return Centring(mean * unit[:, None, None], torch.zeros_like(mean), unit)


def centred(
    zs: Sequence[Tensor], how: Centring | None, *, measure_residual: bool = False
) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of X [n, m, columns], each in the memory of the last; of z where there is nothing to do.

    With measure_residual they are blocks of X + residual, and once all are drawn the residual is known.
    """
    (m, d), n = zs[0].shape, len(zs)
    cpu = zs[0].device.type == "cpu"
    width = min(d, max(_NARROWEST, _BLOCK // (n * m)) if cpu else d)
    memory = zs[0].new_empty(n, m, width + _PAD)
    weight = zs[0].new_full((width, 1), 1 / d)
    minus_shift = memory if how is None else -how.shift
    # a number from another device would have to be waited for
    units = how.unit.tolist() if cpu and how is not None else []
    for start in range(0, d, width):
        columns = slice(start, min(start + width, d))
        block = memory[:, :, : columns.stop - start]
        for i, z in enumerate(zs):
            if how is None:
                block[i].copy_(z[:, columns])
            elif units:
                torch.add(minus_shift[i], z[:, columns], alpha=units[i], out=block[i])
            else:
                torch.mul(z[:, columns], how.unit[i], out=block[i]).add_(minus_shift[i])
        if how is not None:
            if measure_residual:
                how.residual.flatten(0, 1).addmm_(block.flatten(0, 1), weight[: block.shape[2]])
            else:
                block.sub_(how.residual)
        yield columns, block
