"""Claims: what a bundled method cannot do is refused in one line naming the key, before anything is built:
views its loss does not see or cannot unpack, batches that its queue or whitening does not divide, whitening
without inverse, more prototypes than images, a momentum classifier on few classes, absent labels, a network
without patches. What it can do passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.config import pretrain_settings
from solo_intl.config.baselines import check_batch, check_network, check_views
from solo_intl.errors import UserError

QUEUE = {"queue_size": 65536}
SWAV = {"queue_size": 96}
WMSE = {"whitening_size": 32, "proj_output_dim": 16}
CLUSTERS = {"num_prototypes": [30, 60, 30]}


def settings(method: str, *, batch: int = 32, classes: int = 10, **more: Any) -> DictConfig:
    cfg = {
        "method": method,
        "method_kwargs": {},
        "momentum": {},
        "optimizer": {"batch_size": batch},
        "data": {"num_classes": classes, "no_labels": False},
    }
    return OmegaConf.merge(cfg, more)


@pytest.mark.parametrize(
    ("cfg", "world", "images", "message"),
    [
        (
            settings("nnclr", method_kwargs=QUEUE, batch=48),
            1,
            500,
            "queue_size: found 65536, accepted by nnclr",
        ),
        (settings("mocov2plus", method_kwargs=QUEUE), 3, 500, "a multiple of the global batch 96"),
        (
            settings("swav", method_kwargs=SWAV),
            4,
            500,
            "queue_size: found 96, accepted by swav: 0, or at least",
        ),
        (
            settings("wmse", method_kwargs=WMSE, batch=48),
            1,
            500,
            "batch_size: found 48, accepted by wmse: a mult",
        ),
        (
            settings("wmse", method_kwargs=WMSE, batch=16),
            1,
            500,
            "batch_size: found 16, accepted by wmse: a mult",
        ),
        (
            settings("wmse", method_kwargs={**WMSE, "proj_output_dim": 32}),
            1,
            500,
            "whitening_size: found 32, accepted by wmse: more than method_kwargs.proj_output_dim 32",
        ),
        (settings("deepclusterv2", method_kwargs=CLUSTERS), 1, 59, "num_prototypes: found 60 on 59 images"),
        (
            settings("byol", classes=4, momentum={"classifier": True}),
            1,
            500,
            "momentum.classifier: found true",
        ),
        (
            settings("supcon", data={"no_labels": True}),
            1,
            500,
            "method: found 'supcon' on data without labels",
        ),
    ],
)
def test_batch_is_refused(cfg: DictConfig, world: int, images: int, message: str):
    with pytest.raises(UserError, match=message):
        check_batch(cfg, world, images)


@pytest.mark.parametrize(
    ("cfg", "world", "images"),
    [
        (settings("nnclr", method_kwargs=QUEUE), 2, 500),
        (settings("swav", method_kwargs=SWAV), 3, 500),
        (settings("swav", method_kwargs={"queue_size": 0}), 3, 500),
        (settings("wmse", method_kwargs=WMSE, batch=64), 2, 500),
        (settings("deepclusterv2", method_kwargs=CLUSTERS), 1, 60),
        (settings("byol", classes=5, momentum={"classifier": True}), 1, 500),
        (settings("byol", classes=2), 1, 500),
        (settings("simclr", data={"no_labels": True}), 1, 500),
    ],
)
def test_batch_is_accepted(cfg: DictConfig, world: int, images: int):
    check_batch(cfg, world, images)


def views(method: str, large: int, small: int) -> DictConfig:
    return settings(method, data={"num_large_crops": large, "num_small_crops": small})


@pytest.mark.parametrize("method", sorted(set(host.METHODS) - {"wmse", "mae", "intl", "intl_ema"}))
def test_views(method: str):
    check_views(views(method, 2, 0))
    for large in (1, 3):
        with pytest.raises(UserError, match=f"{large} large and 0 smaller views, accepted by {method}: 2 of"):
            check_views(views(method, large, 0))
    if host.uses_small_views(method):
        check_views(views(method, 2, 4))
    else:
        with pytest.raises(UserError, match=f"accepted by {method}: no smaller ones, its loss would not see"):
            check_views(views(method, 2, 4))


def test_methods_of_any_number_of_views():
    check_views(views("wmse", 4, 0))
    check_views(views("mae", 1, 0))
    with pytest.raises(UserError, match="1 large and 0 smaller views, accepted by wmse: 2 or more"):
        check_views(views("wmse", 1, 0))
    with pytest.raises(UserError, match="2 large and 6 smaller views, accepted by wmse: no smaller ones"):
        check_views(views("wmse", 2, 6))


def test_masked_autoencoding_needs_patches():
    vit = {"backbone": {"name": "vit_tiny", "kwargs": {"patch_size": 4}}, "image_size": 16}
    check_network(settings("mae", **vit))
    with pytest.raises(UserError, match=r"backbone\.name: found 'resnet18', accepted by mae: "):
        check_network(settings("mae", backbone={"name": "resnet18", "kwargs": {}}, image_size=16))
    with pytest.raises(UserError, match=r"patch_size: found 4, accepted: a divisor of crop_size 18"):
        check_network(settings("mae", **{**vit, "image_size": 18}))
    with pytest.raises(UserError, match=r"patch_size: found 16, accepted: a divisor of crop_size 24"):
        check_network(settings("mae", backbone={"name": "vit_tiny", "kwargs": {}}, image_size=24))


def test_small_views_of_a_composed_configuration_are_refused(make_cfg: Callable[..., DictConfig]):
    cfg = make_cfg(method="barlow_twins", method_kwargs={})
    small = OmegaConf.merge(cfg.augmentations[0], {"crop_size": 8, "num_crops": 4})
    cfg.augmentations = [cfg.augmentations[0], small]
    with pytest.raises(UserError, match="2 large and 4 smaller views, accepted by barlow_twins"):
        pretrain_settings(cfg)
