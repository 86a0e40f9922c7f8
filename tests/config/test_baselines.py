"""Claims: what a bundled method cannot do is refused in one line naming the key, before anything is built:
views its loss does not see or cannot unpack, batches that its queue or whitening does not divide, whitening
without inverse, more prototypes than images of an epoch, a momentum section without a momentum network, keys
and values of views and k-NN that nobody reads or takes, a momentum classifier on few classes, absent labels,
a network without patches; under every method, INTL too, views that a transformer cannot cut into whole
patches. What can be done passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.config import pretrain_settings
from solo_intl.config.baselines import check_batch, check_momentum, check_network, check_views
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
        # of 95 images one batch of 48 is seen in an epoch
        (settings("deepclusterv2", method_kwargs=CLUSTERS, batch=48), 1, 95, "found 60 on 48 images"),
        (settings("deepclusterv2", method_kwargs=CLUSTERS), 2, 127, "num_prototypes: found 60 on 32 images"),
        (settings("ressl", batch=48), 1, 500, "queue_size: found 65536, accepted by ressl"),
        (
            settings("nnclr", method_kwargs={"queue_size": 0}),
            1,
            500,
            "queue_size: found 0, accepted by nnclr",
        ),
        (
            settings("swav", method_kwargs={"queue_size": "all"}),
            1,
            500,
            "queue_size: found 'all', accepted by",
        ),
        (settings("wmse"), 1, 500, "accepted by wmse: a multiple of method_kwargs.whitening_size 256"),
        (settings("deepclusterv2"), 1, 500, "num_prototypes: found 3000 on 480 images"),
        (
            settings("deepclusterv2", method_kwargs={"num_prototypes": 30}),
            1,
            500,
            "num_prototypes: found 30, accepted by deepclusterv2: a list",
        ),
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
        (settings("ressl"), 1, 500),
        (settings("swav", method_kwargs={"queue_size": 0}), 3, 500),
        (settings("wmse", method_kwargs=WMSE, batch=64), 2, 500),
        (settings("deepclusterv2", method_kwargs=CLUSTERS), 1, 64),
        (settings("deepclusterv2", method_kwargs=CLUSTERS), 2, 128),
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


def network(method: str, name: str, sizes: tuple[int, ...] = (16,), **kwargs: object) -> DictConfig:
    return settings(
        method,
        backbone={"name": name, "kwargs": kwargs},
        augmentations=[{"crop_size": size} for size in sizes],
    )


def test_masked_autoencoding_needs_a_transformer():
    check_network(network("mae", "vit_tiny", patch_size=4))
    with pytest.raises(UserError, match=r"patch_size: found 4, accepted: a divisor"):
        check_network(network("mae", "vit_tiny", (18,), patch_size=4, dynamic_img_pad=True))
    with pytest.raises(UserError, match=r"backbone\.name: found 'resnet18', accepted by mae: "):
        check_network(network("mae", "resnet18"))


@pytest.mark.parametrize(
    ("name", "sizes", "kwargs", "found", "unfit"),
    [
        ("vit_tiny", (18, 16), {"patch_size": 4}, 4, 18),
        ("vit_tiny", (16, 16, 10), {"patch_size": 4}, 4, 10),
        ("vit_tiny", (24,), {}, 16, 24),
        ("swin_tiny", (32, 32, 14), {}, 4, 14),
    ],
)
@pytest.mark.parametrize("method", ["intl", "intl_ema", "byol"])
def test_every_view_is_whole_patches(
    method: str, name: str, sizes: tuple[int, ...], kwargs: dict[str, int], found: int, unfit: int
):
    message = rf"patch_size: found {found}, accepted: a divisor of every crop_size \({unfit} among them\)$"
    with pytest.raises(UserError, match=message):
        check_network(network(method, name, sizes, **kwargs))
    check_network(network(method, name, sizes, **kwargs, dynamic_img_pad=True))  # timm fills it up
    check_network(network(method, name, tuple(found * size for size in sizes), **kwargs))


def test_other_networks_take_views_of_any_size():
    check_network(network("intl", "resnet18", (33, 17)))


def test_a_composed_configuration_is_refused(make_cfg: Callable[..., DictConfig]):
    cfg = make_cfg(backbone={"name": "vit_tiny", "kwargs": {"patch_size": 4}})
    assert pretrain_settings(cfg).backbone.kwargs.img_size == 16
    cfg.augmentations = [{**cfg.augmentations[0], "crop_size": size, "num_crops": 1} for size in (16, 10)]
    with pytest.raises(UserError, match=r"every crop_size \(10 among them\)"):
        pretrain_settings(cfg)


@pytest.mark.parametrize("method", sorted(host.METHODS))
def test_momentum_needs_a_momentum_network(method: str):
    given = settings(method, momentum={"base_tau": 0.9})
    if method in ("all4one", "byol", "dino", "intl_ema", "mocov2plus", "mocov3", "nnbyol", "ressl"):
        check_momentum(given)
    else:
        with pytest.raises(UserError, match=f"momentum: found base_tau, accepted by {method}: nothing"):
            check_momentum(given)
    check_momentum(settings(method))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("augmentations.0.crop_siz", 16, r"augmentations\[0\]\.crop_siz: unknown key, nearest: crop_size"),
        (
            "augmentations.0.rrc.crop_min_scal",
            0.5,
            r"rrc\.crop_min_scal: unknown key, nearest: crop_min_scale",
        ),
        (
            "augmentations.0.rrc.crop_min_scale",
            2,
            r"rrc\.crop_min_scale: found 2, accepted: a number from 0 to 1",
        ),
        (
            "augmentations.0.gaussian_blur.prob",
            float("nan"),
            r"gaussian_blur\.prob: found nan, accepted: a number from 0 to 1",
        ),
        (
            "augmentations.0.rrc.crop_max_scale",
            0.4,
            r"crop_min_scale: found 0\.5, accepted: above 0, at most cr",
        ),
        ("augmentations.0.rrc.enabled", "maybe", r"rrc\.enabled: found 'maybe', accepted: true, false"),
        (
            "augmentations.0.gaussian_blur.prob",
            5,
            r"gaussian_blur\.prob: found 5, accepted: a number from 0 to 1",
        ),
        (
            "augmentations.0.gaussian_blur.enabled",
            False,
            r"blur\.enabled: found false with prob 0\.5, accepted: p",
        ),
        ("augmentations.0.grayscale", 0.2, r"grayscale: found 0\.2, accepted: a section with prob"),
        (
            "augmentations.0.color_jitter",
            {"prob": 0.5},
            r"color_jitter\.brightness: missing, accepted: a number",
        ),
        ("augmentations.0.num_crops", 0, r"num_crops: found 0, accepted: an integer of at least 1"),
        ("augmentations", [3], r"augmentations\[0\]: found 3, accepted: solo-learn's format"),
        ("augmentations", "grey", r"augmentations: found none, accepted: a list"),
        ("momentum", {"base_tau": 0.9}, "momentum: found base_tau, accepted by simsiam: nothing"),
        ("knn_eval", {"enabled": True, "k": 0}, r"knn_eval\.k: found 0, accepted: a positive integer"),
        (
            "knn_eval",
            {"distance_func": "cosin"},
            r"distance_func: found 'cosin', accepted: euclidean, cosine",
        ),
    ],
)
def test_keys_nobody_reads_and_values_nobody_takes(
    make_cfg: Callable[..., DictConfig], key: str, value: Any, message: str
):
    cfg = make_cfg(method="simsiam", method_kwargs={})
    pretrain_settings(cfg)
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    with pytest.raises(UserError, match=message):
        pretrain_settings(cfg)


def test_jitter_that_never_happens_needs_no_strengths(make_cfg: Callable[..., DictConfig]):
    cfg = make_cfg(method="simsiam", method_kwargs={})
    cfg.augmentations[0].color_jitter = {"prob": 0.0, "enabled": False}
    pretrain_settings(cfg)


def test_small_views_of_a_composed_configuration_are_refused(make_cfg: Callable[..., DictConfig]):
    cfg = make_cfg(method="barlow_twins", method_kwargs={})
    small = OmegaConf.merge(cfg.augmentations[0], {"crop_size": 8, "num_crops": 4})
    cfg.augmentations = [cfg.augmentations[0], small]
    with pytest.raises(UserError, match="2 large and 4 smaller views, accepted by barlow_twins"):
        pretrain_settings(cfg)
