"""Small colourful images, as tensors and as Pillow has them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def colour_images(n: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """uint8 [n, 3, h, w]: smooth blobs with edges where they saturate, half of them with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=generator) * 380 - 60
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    images[::2] += 40 * torch.randn(images[::2].shape, generator=generator)
    return images.round().clamp(0, 255).to(torch.uint8)


def to_pil(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def from_pil(images: list[Image.Image]) -> Tensor:
    """float32 [n, 3, h, w], levels."""
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).float() for image in images])
