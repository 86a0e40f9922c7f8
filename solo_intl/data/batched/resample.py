"""Resizing and blurring as products with one small matrix per image and axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from solo_intl.data.batched.parameters import BLUR_SIGMA


def resample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ image @ columns^T`` for every image and channel, columns first; both results are whole levels.

    Args:
        x: float32 [n, c, h, w], levels 0 to 255.
        rows: [n, h', h]; columns: [n, w', w].

    Returns:
        float32 [n, c, h', w'], levels rounded and clipped to 0 to 255.

    Example:
        >>> resample(torch.tensor([[[[10.0, 21.0]]]]), torch.ones(1, 1, 1), torch.full((1, 1, 2), 0.5))
        tensor([[[[16.]]]])
    """
    n, c, h, w = x.shape
    x = to_levels(torch.bmm(x.reshape(n, c * h, w), columns.mT)).view(n * c, h, -1)
    x = to_levels(torch.bmm(rows.repeat_interleave(c, dim=0), x))
    return x.view(n, c, *x.shape[1:])


def to_levels(x: Tensor) -> Tensor:
    """Round halves up and clip to 0 to 255, in place."""
    return x.add_(0.5).floor_().clamp_(0, 255)


def bicubic(start: Tensor, length: Tensor, size: int, out: int, flipped: Tensor | None = None) -> Tensor:
    """Pillow's bicubic resizing of a part of each line: Keys' cubic (a = -1/2), widened when it shrinks.

    Only pixels of the part count, as when it is cut out first.

    Args:
        start: [n], first pixel of the part; length: [n], its pixels.
        size: pixels of the whole line.
        out: pixels of the result.
        flipped: bool [n], where to reverse the result.

    Returns:
        float32 [n, out, size], rows adding up to one.

    Example:
        >>> bicubic(torch.tensor([1]), torch.tensor([2]), 4, 2)
        tensor([[[0., 1., 0., 0.],
                 [0., 0., 1., 0.]]])
    """
    scale = (length / out).to(torch.float32)[:, None]
    target = torch.arange(out, device=start.device, dtype=torch.float32).expand(len(start), out)
    if flipped is not None:
        target = torch.where(flipped[:, None], out - 1 - target, target)
    pixel = torch.arange(size, device=start.device) - start[:, None]
    distance = (pixel + 0.5)[:, None, :] - ((target + 0.5) * scale)[:, :, None]
    distance.abs_().div_(scale.clamp(min=1)[:, :, None])
    near, far = distance.clamp(max=1), distance.clamp_(1, 2)  # each piece is 0 at its end(s)
    weights = (1.5 * near).sub_(2.5).mul_(near).mul_(near).add_(1)
    weights.addcmul_((far - 5).mul_(far).add_(8).mul_(far).sub_(4), far.new_tensor(-0.5))
    inside = (pixel >= 0) & (pixel < length[:, None])
    weights.mul_(inside[:, None, :])
    return weights.div_(weights.sum(dim=2, keepdim=True))


def gaussian(sigma: Tensor, size: int) -> Tensor:
    """Pillow's Gaussian blur of a line: three box averages, beyond the ends the last pixel repeated.

    The box is 2 r + 1 pixels wide, r chosen so that three of them have the deviation sigma; r is no whole
    number, so the two outermost of its 2 floor(r) + 3 pixels have less weight.

    Args:
        sigma: [n], standard deviation in pixels, at most the largest of BLUR_SIGMA.
        size: pixels of the line.

    Returns:
        float32 [n, size, size], rows adding up to one.

    Example:
        >>> gaussian(torch.tensor([0.5]), 3)[0, 1]
        tensor([0.1100, 0.7799, 0.1100])
    """
    variance = (sigma.float() ** 2 / 3)[:, None, None]
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    full = 1 / (2 * (whole + part) + 1)
    edge = (1 - (2 * whole + 1) * full) / 2
    reach = math.floor((math.sqrt(4 * BLUR_SIGMA[1] ** 2 + 1) - 1) / 2) + 1  # of the widest box
    pixel = torch.arange(-reach, size + reach, device=sigma.device)
    offset = (pixel - torch.arange(size, device=sigma.device)[:, None]).abs()
    box = torch.where(offset <= whole, full, torch.where(offset == whole + 1, edge, 0.0))
    box[..., reach] += box[..., :reach].sum(dim=-1)
    box[..., reach + size - 1] += box[..., reach + size :].sum(dim=-1)
    box = box[..., reach : reach + size]
    return box @ box @ box
