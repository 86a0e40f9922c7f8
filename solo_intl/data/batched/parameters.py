"""Random parameters of one view, drawn for each image as the stock transforms draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

Range = tuple[float, float]

#: The jitters, as numbered in ``Draws.order``.
JITTERS = ("brightness", "contrast", "saturation", "hue")
#: solo-learn's range, the same in both generations and without a key in the configuration.
BLUR_SIGMA: Range = (0.1, 2.0)
#: torchvision's RandomResizedCrop: range of width / height, and proposals before the central crop.
CROP_RATIO: Range = (3 / 4, 4 / 3)
CROP_PROPOSALS = 10


@dataclass(frozen=True)
class ViewSettings:
    """One entry of ``augmentations``.

    Attributes:
        size: ``crop_size`` in pixels.
        scale: share of the area that a crop takes, None where ``rrc`` is off and the image is resized whole.
        jitter: probability of colour jitter.
        factors: range of each of JITTERS, None for one that is off.
        grayscale, blur, solarization, equalization, flip: probabilities.

    Example:
        >>> off = {"prob": 0.0}
        >>> view = {
        ...     "crop_size": 32,
        ...     "rrc": {"enabled": False},
        ...     "color_jitter": {"prob": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0, "hue": 0},
        ...     "grayscale": off, "gaussian_blur": off, "solarization": off, "equalization": off,
        ...     "horizontal_flip": {"prob": 0.5},
        ... }
        >>> ViewSettings.parse(view).factors
        ((0.6, 1.4), (0.6, 1.4), None, None)
    """

    size: int
    scale: Range | None
    jitter: float
    factors: tuple[Range | None, ...]
    grayscale: float
    blur: float
    solarization: float
    equalization: float
    flip: float

    @classmethod
    def parse(cls, view: Mapping[str, Any]) -> ViewSettings:
        """Read an entry in solo-learn's format; torchvision says what a jitter's strength means."""
        from torchvision.transforms import ColorJitter

        crop, colours = view["rrc"], view["color_jitter"]
        ranges: list[Range | None] = [None] * len(JITTERS)
        if colours["prob"]:
            stock = ColorJitter(**{name: colours[name] for name in JITTERS})
            found = [getattr(stock, name) for name in JITTERS]
            ranges = [None if limits is None else (limits[0], limits[1]) for limits in found]
        return cls(
            size=int(view["crop_size"]),
            scale=(crop["crop_min_scale"], crop["crop_max_scale"]) if crop["enabled"] else None,
            jitter=colours["prob"],
            factors=tuple(ranges),
            grayscale=view["grayscale"]["prob"],
            blur=view["gaussian_blur"]["prob"],
            solarization=view["solarization"]["prob"],
            equalization=view["equalization"]["prob"],
            flip=view["horizontal_flip"]["prob"],
        )


@dataclass(frozen=True)
class Draws:
    """What happens to each of n images, on the CPU.

    Attributes:
        top, left, height, width: int64 [n], the box that is cut out, in pixels.
        output: height and width of the view.
        jittered: bool [n].
        order: int64 [n, 4], the jitters (numbered as JITTERS) in the order they are applied.
        factors: float64 [n, 4], one for each jitter; 1, or 0 for the hue, where it is off.
        grey, blurred, solarized, equalized, flipped: bool [n].
        sigma: float64 [n], of the blur, in pixels.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    output: tuple[int, int]
    jittered: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    blurred: Tensor
    sigma: Tensor
    solarized: Tensor
    equalized: Tensor
    flipped: Tensor


def draw(settings: ViewSettings, n: int, height: int, width: int, generator: Generator) -> Draws:
    """Parameters for ``n`` images of ``height`` x ``width`` pixels.

    Example:
        >>> off = dict.fromkeys(("grayscale", "blur", "solarization", "equalization", "flip"), 0.0)
        >>> settings = ViewSettings(size=8, scale=(0.5, 0.5), jitter=0.0, factors=(None,) * 4, **off)
        >>> draws = draw(settings, 3, 20, 20, torch.Generator().manual_seed(0))
        >>> draws.output, bool((draws.height * draws.width - 200).abs().max() < 20)
        ((8, 8), True)
    """

    def uniform(limits: Range, *shape: int) -> Tensor:
        unit = torch.rand(*(shape or (n,)), dtype=torch.float64, generator=generator)
        return limits[0] + (limits[1] - limits[0]) * unit

    def chance(probability: float) -> Tensor:
        return uniform((0.0, 1.0)) < probability

    if settings.scale is None:
        box = torch.tensor([[0], [0], [height], [width]]).expand(4, n)
        short = min(height, width)
        output = (settings.size * height // short, settings.size * width // short)
    else:
        area = height * width * uniform(settings.scale, n, CROP_PROPOSALS)
        ratio = uniform((math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])), n, CROP_PROPOSALS).exp()
        box = _boxes(area, ratio, uniform((0.0, 1.0)), uniform((0.0, 1.0)), height, width)
        output = (settings.size, settings.size)
    neutral = [(1.0, 1.0)] * 3 + [(0.0, 0.0)]
    ranges = [limits or default for limits, default in zip(settings.factors, neutral, strict=True)]
    top, left, box_height, box_width = box
    return Draws(
        top=top,
        left=left,
        height=box_height,
        width=box_width,
        output=output,
        jittered=chance(settings.jitter),
        order=uniform((0.0, 1.0), n, len(JITTERS)).argsort(dim=1),
        factors=torch.stack([uniform(limits) for limits in ranges], dim=1),
        grey=chance(settings.grayscale),
        blurred=chance(settings.blur),
        sigma=uniform(BLUR_SIGMA),
        solarized=chance(settings.solarization),
        equalized=chance(settings.equalization),
        flipped=chance(settings.flip),
    )


def _boxes(area: Tensor, ratio: Tensor, down: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """top, left, height and width, int64 [4, n], from n rows of proposals: the first that fits counts."""
    w, h = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    w, h, found = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0], fits.any(dim=1)
    top, left = (down * (height - h + 1)).long(), (right * (width - w + 1)).long()
    central_h = min(height, round(width / CROP_RATIO[0]))
    central_w = min(width, round(height * CROP_RATIO[1]))
    central = torch.tensor(
        [(height - central_h) // 2, (width - central_w) // 2, central_h, central_w], dtype=torch.int64
    )
    return torch.where(found, torch.stack([top, left, h, w]), central[:, None])
