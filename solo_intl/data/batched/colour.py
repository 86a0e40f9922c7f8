"""Colour operations on batches, to the level what torchvision and Pillow do to one 8-bit image.

Images are float32 [n, 3, h, w] holding whole levels from 0 to 255, and so are the results; ``factor`` is
float32 [n]. Pillow's blends cut the fraction off where its conversions round, and its hue has 255 steps: both
move averages by a visible part of a level, so both are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def luma(x: Tensor) -> Tensor:
    """ITU-R 601 grey levels [n, 1, h, w] in Pillow's 16-bit arithmetic, exact in float32.

    Example:
        >>> luma(torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1)).item()
        76.0
    """
    red, green, blue = x.split(1, dim=1)
    grey = red * 19595
    return grey.add_(green, alpha=38470).add_(blue, alpha=7471).add_(32768).mul_(2**-16).floor_()


def grayscale(x: Tensor) -> Tensor:
    """The grey levels in all three channels."""
    return luma(x).expand_as(x)


def _blend(x: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    """other + factor (x - other), clipped, fractions cut off; in place."""
    return x.sub_(other).mul_(factor[:, None, None, None]).add_(other).clamp_(0, 255).floor_()


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return x.mul_(factor[:, None, None, None]).clamp_(0, 255).floor_()


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey level, rounded."""
    return _blend(x, luma(x).mean(dim=(1, 2, 3), keepdim=True).add_(0.5).floor_(), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's grey version."""
    return _blend(x, luma(x), factor)


def hue(x: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue by ``factor`` (-0.5 to 0.5) of a circle, through Pillow's 8-bit HSV.

    Example:
        >>> red = torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> hue(red, torch.tensor([1 / 3])).flatten().tolist()  # 85 of 255 steps: green
        [0.0, 255.0, 0.0]
    """
    red, green, blue = x.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    share = chroma.clamp(min=1)  # grey has saturation 0, so its hue doesn't matter
    from_red, from_green, from_blue = ((value - channel).div_(share) for channel in (red, green, blue))
    sixths = torch.where(
        red == value,
        from_blue - from_green,
        torch.where(green == value, from_red.sub(from_blue).add_(2), from_green.sub_(from_red).add_(4)),
    )
    # many hues are whole steps up to rounding, which decides about the step: in float64, as Pillow does
    turn = sixths.double().div_(6).add_(1)
    level = turn.sub_(turn.floor()).float().double().mul_(255).floor_().float()
    level.add_((factor * 255).trunc_()[:, None, None])
    level.sub_((level / 256).floor_().mul_(256))  # 8 bits run over at 256, though a full turn is 255
    depth = (chroma / value.clamp(min=1)).mul_(255).floor_().mul_(value).div_(255)
    out = torch.empty_like(x)
    for channel, shift in enumerate((5, 3, 1)):
        position = level * (6 / 255) + shift
        position.sub_((position / 6).floor_().mul_(6))
        ramp = torch.minimum(position, 4 - position).clamp_(0, 1)
        torch.add(value - depth * ramp, 0.5, out=out[:, channel])
    return out.floor_()


def solarization(x: Tensor) -> Tensor:
    """Levels from 128 on are inverted; in place."""
    return x.sub_(127.5).abs_().neg_().add_(127.5)


def equalization(x: Tensor) -> Tensor:
    """Levels of each channel spread so that their histogram is as flat as Pillow makes it.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
        >>> torch.equal(equalization(ramp), ramp)
        True
    """
    n, c, h, w = x.shape
    levels = x.reshape(n * c, h * w).long()
    counts = levels.new_zeros(n * c, 256).scatter_add_(1, levels, torch.ones_like(levels))
    last = counts.gather(1, levels.amax(dim=1, keepdim=True))
    step = (h * w - last) // 255
    below = counts.cumsum(dim=1) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255)
    return torch.where(step > 0, table.gather(1, levels), levels).to(x.dtype).view(n, c, h, w)


#: In the order of ``parameters.JITTERS``.
JITTER_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (brightness, contrast, saturation, hue)
