"""Claims: with equal parameters every colour operation gives torchvision's and Pillow's levels (the hue in
all but one pixel in a thousand); cut, resized and mirrored images differ by at most one level from Pillow's
two passes, and those of the whole torchvision operation by little; blurred ones by two levels at most, by
none on average."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from colour_images import colour_images, from_pil, to_pil
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop, Resize
from torchvision.transforms import functional as F

from solo_intl.data.batched import colour
from solo_intl.data.batched.parameters import ViewSettings, draw
from solo_intl.data.batched.resample import bicubic, gaussian, resample
from solo_intl.data.batched.views import augment

N, H, W = 48, 40, 36
IMAGES = colour_images(N, H, W)
IMAGES[0] = IMAGES[0, :1]  # grey
IMAGES[1] = 77
IMAGES[2] = 255
IMAGES[3] = 0
PIL = to_pil(IMAGES)
GENERATOR = torch.Generator().manual_seed(1)
FACTORS = 2 * torch.rand(N, generator=GENERATOR)
HUES = torch.rand(N, generator=GENERATOR) - 0.5


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colour.brightness, F.adjust_brightness, FACTORS),
        (colour.contrast, F.adjust_contrast, FACTORS),
        (colour.saturation, F.adjust_saturation, FACTORS),
        (colour.grayscale, lambda image: F.rgb_to_grayscale(image, 3), None),
        (colour.solarization, ImageOps.solarize, None),
        (colour.equalization, ImageOps.equalize, None),
    ],
)
def test_levels_are_pillows(
    ours: Callable[..., Tensor], theirs: Callable[..., Image.Image], factors: Tensor | None
) -> None:
    per_image = [()] * N if factors is None else [(float(factor),) for factor in factors]
    expected = from_pil([theirs(image, *own) for image, own in zip(PIL, per_image, strict=True)])
    found = ours(IMAGES.float(), *(() if factors is None else (factors,)))
    assert torch.equal(found, expected)


def test_the_hue_is_pillows_up_to_rounding() -> None:
    expected = from_pil([F.adjust_hue(image, float(hue)) for image, hue in zip(PIL, HUES, strict=True)])
    difference = (colour.hue(IMAGES.float(), HUES) - expected).abs()
    assert (difference > 0).float().mean() < 0.001 and difference.max() <= 7


def test_hues_of_float16_range_are_taken_from_8_bits() -> None:
    # 0.5 is 127 steps of 255, not half a circle
    red = torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert colour.hue(red, torch.tensor([0.5])).flatten().tolist() == [0.0, 255.0, 252.0]


@pytest.mark.parametrize("out", [8, 32, 96])
def test_a_crop_is_pillows(out: int) -> None:
    settings = ViewSettings(out, (0.08, 1.0), 0.0, (None,) * 4, 0.0, 0.0, 0.0, 0.0, 0.5)
    draws = draw(settings, N, H, W, GENERATOR)
    found = augment(IMAGES, draws)
    boxes = torch.stack([draws.top, draws.left, draws.height, draws.width], dim=1).tolist()
    apart, together = [], []
    for image, (top, left, height, width), flipped in zip(PIL, boxes, draws.flipped, strict=True):
        part = F.crop(image, top, left, height, width)
        # one axis at a time: which is first in one call depends on Pillow's version
        twice = part.resize((out, height), Image.Resampling.BICUBIC).resize(
            (out, out), Image.Resampling.BICUBIC
        )
        once = F.resized_crop(image, top, left, height, width, [out, out], InterpolationMode.BICUBIC)
        apart.append(F.hflip(twice) if flipped else twice)
        together.append(F.hflip(once) if flipped else once)
    difference = (found - from_pil(apart)).abs()
    # Pillow rounds after each axis: where the first rounds the other way, the second can carry it one further
    assert difference.max() <= 2 and (difference > 1).float().mean() < 1e-4 and difference.mean() < 0.001
    assert (found - from_pil(together)).abs().mean() < 0.06


def test_without_crops_the_shorter_side_is_resized() -> None:
    settings = ViewSettings(24, None, 0.0, (None,) * 4, 0.0, 0.0, 0.0, 0.0, 0.0)
    found = augment(IMAGES, draw(settings, N, H, W, GENERATOR))
    expected = from_pil([Resize(24, InterpolationMode.BICUBIC)(image) for image in PIL])
    assert found.shape == expected.shape == (N, 3, 26, 24)
    assert (found - expected).abs().max() <= 1 and (found != expected).float().mean() < 0.01


def test_an_image_that_has_the_size_is_left_alone() -> None:
    settings = ViewSettings(W, None, 0.0, (None,) * 4, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert torch.equal(augment(IMAGES, draw(settings, N, H, W, GENERATOR)), IMAGES.float())


@pytest.mark.parametrize("deviation", [0.1, 0.7, 1.3, 2.0])
def test_blur_is_pillows(deviation: float) -> None:
    sigma = torch.full((N,), deviation, dtype=torch.float64)
    found = resample(IMAGES.float(), gaussian(sigma, H), gaussian(sigma, W))
    expected = from_pil([image.filter(ImageFilter.GaussianBlur(radius=deviation)) for image in PIL])
    difference = found - expected
    # Pillow rounds after each of its six passes
    assert difference.abs().max() <= 2 and difference.abs().mean() < 0.5 and difference.mean().abs() < 0.05


def test_a_line_shorter_than_the_blur() -> None:
    weights = gaussian(torch.tensor([2.0], dtype=torch.float64), 2)
    assert torch.allclose(weights.sum(dim=2), torch.ones(1, 2)) and weights.min() > 0


def test_a_central_crop_where_no_proposal_fits() -> None:
    # 200 x 10 pixels have no box of all the area with a ratio near one
    settings = ViewSettings(8, (1.0, 1.0), 0.0, (None,) * 4, 0.0, 0.0, 0.0, 0.0, 0.0)
    for height, width in ((200, 10), (10, 200)):
        draws = draw(settings, 3, height, width, GENERATOR)
        expected = RandomResizedCrop.get_params(torch.zeros(3, height, width), [1.0, 1.0], [3 / 4, 4 / 3])
        for found in zip(draws.top, draws.left, draws.height, draws.width, strict=True):
            assert tuple(map(int, found)) == tuple(expected)


def test_weights_of_a_part_are_zero_outside_it() -> None:
    weights = bicubic(torch.tensor([5]), torch.tensor([7]), 20, 16)[0]
    assert (weights[:, :5] == 0).all() and (weights[:, 12:] == 0).all()
    assert torch.allclose(weights.sum(dim=1), torch.ones(16))
