"""All views of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solo_intl.data.batched import colour
from solo_intl.data.batched.parameters import Draws, ViewSettings, draw
from solo_intl.data.batched.resample import bicubic, gaussian, resample


def augment(images: Tensor, draws: Draws) -> Tensor:
    """One view of each image, in the stock pipeline's order of operations.

    The mirror is applied with the crop, since it commutes with everything that follows.

    Args:
        images: uint8 [n, 3, h, w], on any device.
        draws: the parameters of each of them.

    Returns:
        float32 [n, 3, *draws.output], whole levels from 0 to 255.
    """
    (h, w), (out_h, out_w) = images.shape[2:], draws.output
    boxes = torch.stack([draws.top, draws.left, draws.height, draws.width])
    top, left, height, width = _beside(images, boxes)
    rows = bicubic(top, height, h, out_h)
    columns = bicubic(left, width, w, out_w, _beside(images, draws.flipped))
    x = resample(images.float(), rows, columns)
    for position in range(draws.order.shape[1]):
        for number, operation in enumerate(colour.JITTER_OPERATIONS):
            chosen = draws.jittered & (draws.order[:, position] == number)
            _apply(operation, x, chosen, draws.factors[:, number])
    _apply(colour.grayscale, x, draws.grey)
    _apply(_blur, x, draws.blurred, draws.sigma)
    _apply(colour.solarization, x, draws.solarized)
    _apply(colour.equalization, x, draws.equalized)
    return x


def _apply(operation: Callable[..., Tensor], x: Tensor, chosen: Tensor, *parameters: Tensor) -> None:
    """Replace the chosen images by what the operation makes of them and of their parameters."""
    which = chosen.nonzero()[:, 0]  # on the CPU, so that no device is waited for
    if len(which) == 0:
        return
    there = _beside(x, which)
    own = (_beside(x, parameter[which].to(x.dtype)) for parameter in parameters)
    x.index_copy_(0, there, operation(x.index_select(0, there), *own))


def _beside(x: Tensor, parameters: Tensor) -> Tensor:
    """Parameters from the CPU on the device of ``x``; without waiting for what the device still has to do."""
    return parameters.to(x.device, non_blocking=x.device.type != "mps")  # where such a copy is not safe


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    return resample(x, gaussian(sigma, x.shape[2]), gaussian(sigma, x.shape[3]))


class BatchedViews:
    """Every entry of ``augmentations``, ``num_crops`` times, for whole batches.

    The random parameters follow from seed, step and rank alone and are drawn on the CPU: a run that is
    repeated or resumed, on whatever device, draws the same.

    Args:
        views: entries in solo-learn's format, in order.
        mean, std: RGB in [0, 1], for normalising.
        seed: of the run.

    Example:
        >>> off = {"prob": 0.0}
        >>> names = ("grayscale", "gaussian_blur", "solarization", "equalization", "horizontal_flip")
        >>> view = {"crop_size": 4, "num_crops": 2, "rrc": {"enabled": False}, "color_jitter": off}
        >>> make = BatchedViews([{**view, **dict.fromkeys(names, off)}], (0.5,) * 3, (0.5,) * 3, seed=0)
        >>> first, second = make(torch.full((7, 3, 8, 8), 255, dtype=torch.uint8))
        >>> first.shape, first.min().item(), torch.equal(first, second)
        (torch.Size([7, 3, 4, 4]), 1.0, True)
    """

    def __init__(
        self, views: Sequence[Mapping[str, Any]], mean: Sequence[float], std: Sequence[float], seed: int
    ) -> None:
        self.settings = [ViewSettings.parse(view) for view in views for _ in range(int(view["num_crops"]))]
        self.mean, self.std, self.seed = tuple(mean), tuple(std), seed

    @torch.no_grad()
    def __call__(self, images: Tensor, step: int = 0, rank: int = 0) -> list[Tensor]:
        """The views of uint8 images [n, 3, h, w]: float32 [n, 3, size, size] each, on the images' device."""
        state = np.random.SeedSequence([self.seed, step, rank]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        # (x / 255 - mean) / std
        deviation = torch.tensor(self.std).view(3, 1, 1)
        scale = _beside(images, 1 / (255 * deviation))
        shift = _beside(images, torch.tensor(self.mean).view(3, 1, 1) / deviation)
        n, _, h, w = images.shape
        return [
            augment(images, draw(settings, n, h, w, generator)).mul_(scale).sub_(shift)
            for settings in self.settings
        ]

    def __repr__(self) -> str:
        return "\n".join(map(str, self.settings))
