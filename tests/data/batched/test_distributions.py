"""Claims, with fixed seeds, against the stock transforms' own draws and outputs on the installed host: crop
boxes (area, ratio, position), jitter factors, their order, the deviation of the blur, and the share of images
that are jittered, grey, blurred, solarized, equalized or mirrored have the same distribution; so have the
mean, deviation and levels of the finished views; draws of one image tell nothing about another's. A draw that
is off by a tenth of its range is seen."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from colour_images import colour_images, to_pil
from omegaconf import DictConfig, OmegaConf
from scipy.stats import chi2_contingency, chisquare, ks_2samp, kstest
from torchvision.transforms import ColorJitter, RandomResizedCrop

from solo_intl.config import SCRIPTS
from solo_intl.data.batched import BatchedViews, Draws, ViewSettings, draw
from solo_intl.host import build_views

N = 2500
LEAST_P = 0.01  # of each comparison; the seeds are fixed, so a failure is a change of the code
ZERO, ONE = (0.0,) * 3, (1.0,) * 3


def entry(**given: Any) -> DictConfig:
    names = ("grayscale", "gaussian_blur", "solarization", "equalization", "horizontal_flip")
    off = {name: {"prob": 0.0} for name in names}
    jitter = dict.fromkeys(("prob", "brightness", "contrast", "saturation", "hue"), 0.0)
    return OmegaConf.create(
        {"rrc": {"enabled": False}, "color_jitter": jitter, **off, "crop_size": 16, "num_crops": 1, **given}
    )


def draws(height: int = 40, width: int = 30, n: int = N, **given: Any) -> Draws:
    settings = ViewSettings.parse(entry(**given))
    return draw(settings, n, height, width, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 30)])
def test_crop_boxes(height: int, width: int) -> None:
    scale = (0.08, 1.0)
    torch.manual_seed(1)
    stock = torch.tensor(
        [
            RandomResizedCrop.get_params(torch.empty(3, height, width), list(scale), [3 / 4, 4 / 3])
            for _ in range(N)
        ]
    ).T
    ours = draws(height, width, rrc={"enabled": True, "crop_min_scale": scale[0], "crop_max_scale": scale[1]})
    found = torch.stack([ours.top, ours.left, ours.height, ours.width])
    assert found[0].min() >= 0 and (found[0] + found[2]).max() <= height
    assert found[1].min() >= 0 and (found[1] + found[3]).max() <= width
    for measure in (
        lambda b: b[2] * b[3],
        lambda b: b[2] / b[3],
        lambda b: b[0],
        lambda b: b[1],
        lambda b: b[0] / (height - b[2]).clamp(min=1),
        lambda b: b[1] / (width - b[3]).clamp(min=1),
    ):
        assert ks_2samp(measure(stock), measure(found)).pvalue > LEAST_P


JITTER = {"prob": 0.8, "brightness": 0.4, "contrast": 0.8, "saturation": 0.2, "hue": 0.1}


def test_jitter_factors_and_their_order() -> None:
    torch.manual_seed(2)
    transform = ColorJitter(*(JITTER[name] for name in ("brightness", "contrast", "saturation", "hue")))
    ranges = (transform.brightness, transform.contrast, transform.saturation, transform.hue)
    orders, *factors = zip(*(ColorJitter.get_params(*ranges) for _ in range(N)), strict=True)
    ours = draws(color_jitter=JITTER)
    for number in range(4):
        assert ks_2samp(factors[number], ours.factors[:, number]).pvalue > LEAST_P
    each = list(permutations(range(4)))
    counts = [
        [[tuple(map(int, order)) for order in found].count(p) for p in each] for found in (orders, ours.order)
    ]
    assert chi2_contingency(counts).pvalue > LEAST_P
    assert chisquare(counts[1]).pvalue > LEAST_P


def test_a_jitter_of_strength_zero_is_none() -> None:
    ours = draws(color_jitter={**JITTER, "saturation": 0.0, "hue": 0.0})
    assert (ours.factors[:, 2] == 1).all() and (ours.factors[:, 3] == 0).all()


def test_every_draw_is_an_images_own() -> None:
    ours = draws(color_jitter=JITTER, gaussian_blur={"prob": 0.5}, horizontal_flip={"prob": 0.5})
    for values in (ours.sigma, *ours.factors.T):
        assert len(values.unique()) == N
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05
    columns = torch.stack([ours.sigma, *ours.factors.T, ours.flipped, ours.blurred, ours.jittered]).double()
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 0.06


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("color_jitter", "jittered"),
        ("grayscale", "grey"),
        ("gaussian_blur", "blurred"),
        ("solarization", "solarized"),
        ("equalization", "equalized"),
        ("horizontal_flip", "flipped"),
    ],
)
def test_how_many_images_are_changed(key: str, field: str) -> None:
    settings = JITTER if key == "color_jitter" else {}
    for probability in (0.0, 0.2, 1.0):
        many = draws(n=100_000, **{key: {**settings, "prob": probability}})
        share = getattr(many, field).double().mean()
        assert abs(share - probability) <= 3 * (probability * (1 - probability) / 100_000) ** 0.5
    # the same through both pipelines, from what comes out
    images = colour_images(1).expand(600, 3, 32, 32)
    view = entry(crop_size=32, **{key: {**settings, "prob": 0.3}})
    stock, ours = both(view, images)
    plain = images[0] / 255
    changed = [sum(not torch.allclose(image, plain, atol=1e-6) for image in views) for views in (stock, ours)]
    assert chi2_contingency([[c, 600 - c] for c in changed]).pvalue > LEAST_P / 10, changed  # one of six


def both(view: DictConfig, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first view of each image through the host's transforms and through ours, levels / 255."""
    random.seed(3)
    torch.manual_seed(3)
    stock = build_views([view], ZERO, ONE)
    theirs = torch.stack([stock(image)[0] for image in to_pil(images)])
    ours = BatchedViews([OmegaConf.to_container(view)], ZERO, ONE, seed=3)(images)[0]
    return theirs, ours


def test_the_deviation_of_the_blur() -> None:
    ours = draws(gaussian_blur={"prob": 1.0})
    assert kstest(ours.sigma, "uniform", args=(0.1, 1.9)).pvalue > LEAST_P
    # the stock's is drawn inside its transform: a white point's remaining height tells it
    point = torch.zeros(1, 3, 17, 17, dtype=torch.uint8)
    point[:, :, 8, 8] = 255
    heights = [
        views[:, 0, 8, 8]
        for views in both(entry(crop_size=17, gaussian_blur={"prob": 1.0}), point.expand(1000, -1, -1, -1))
    ]
    assert ks_2samp(*heights).pvalue > LEAST_P


SHIPPED = ("asymmetric", "symmetric", "wmse")


@pytest.mark.parametrize("name", SHIPPED)
def test_pixels_of_the_shipped_views(name: str) -> None:
    for view in OmegaConf.load(SCRIPTS / "pretrain" / "cifar" / "augmentations" / f"{name}.yaml"):
        assert_alike(*both(view, colour_images(700, seed=4)))


def test_pixels_with_everything_at_once() -> None:
    crop = {"enabled": True, "crop_min_scale": 0.2, "crop_max_scale": 0.9}
    jitter = {"prob": 0.9, "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.3}
    chances = {"grayscale": 0.3, "gaussian_blur": 0.6, "solarization": 0.3, "equalization": 0.4}
    view = entry(
        rrc=crop,
        color_jitter=jitter,
        horizontal_flip={"prob": 0.5},
        crop_size=20,
        **{key: {"prob": probability} for key, probability in chances.items()},
    )
    assert_alike(*both(view, colour_images(700, 36, 28, seed=5)))


def assert_alike(stock: torch.Tensor, ours: torch.Tensor) -> None:
    assert stock.shape == ours.shape and stock.dtype == ours.dtype
    for channel in range(3):
        for measure in (
            lambda views: views.mean(dim=(1, 2)),
            lambda views: views.std(dim=(1, 2)),
            lambda views: views[:, 0, 0],
            lambda views: views.diff(dim=2).abs().mean(dim=(1, 2)),
        ):
            p = ks_2samp(measure(stock[:, channel]), measure(ours[:, channel])).pvalue
            assert p > LEAST_P / 10, (channel, p)  # twelve comparisons a view
        shares = [
            torch.histc(views[:, channel], 32, 0, 1) / views[:, channel].numel() for views in (stock, ours)
        ]
        assert (shares[0] - shares[1]).abs().sum() / 2 < 0.035
    assert abs(float(stock.mean() - ours.mean())) < 0.02 and abs(float(stock.std() - ours.std())) < 0.02


@pytest.mark.parametrize("change", ["brightness", "crop_max_scale"])
def test_a_difference_is_seen(change: str) -> None:
    view = OmegaConf.load(SCRIPTS / "pretrain" / "cifar" / "augmentations" / "asymmetric.yaml")[0]
    other = view.copy()
    if change == "brightness":
        other.color_jitter.brightness = 0.6
        stock, ours = (
            draws(color_jitter=view.color_jitter).factors,
            draws(color_jitter=other.color_jitter).factors,
        )
        assert ks_2samp(stock[:, 0], ours[:, 0]).pvalue < 1e-6
    else:
        other.rrc.crop_max_scale = 0.5
        images = colour_images(700, seed=4)
        with pytest.raises(AssertionError):
            assert_alike(both(view, images)[0], both(other, images)[1])
