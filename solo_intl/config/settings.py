"""Defaults and checks that solo-learn's ``parse_cfg`` makes, without its traps."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from solo_intl import host
from solo_intl.config.baselines import check_momentum, check_network, check_views
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.config.views import check_entries
from solo_intl.data import count_classes, dataset_info
from solo_intl.errors import UserError, not_accepted, unknown_key

DEFAULT_SEED = 5  # solo-learn's
DISTANCES = ("euclidean", "cosine")  # of the online k-NN
AUGMENT = ("stock", "batched")


def check_number(
    cfg: DictConfig, key: str, *, positive: bool = True, integer: bool = False, other: str = ""
) -> None:
    """Raise unless a finite number, or ``other``, stands at ``key``."""
    value = OmegaConf.select(cfg, key)
    if other and value == other:
        return
    kinds = (int,) if integer else (int, float)
    number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):
        kind = "integer" if integer else "number"
        sign = "positive" if positive else "non-negative"
        raise UserError(
            f"{key}: found {value!r}, accepted: a {sign} {kind}{f', or {other}' if other else ''}"
        )


def check_training(cfg: DictConfig, batch: str = "") -> None:
    for key in ("max_epochs", "checkpoint.frequency"):
        check_number(cfg, key, integer=True)
    check_number(cfg, "optimizer.batch_size", integer=True, other=batch)
    for key in ("seed", "data.num_workers"):
        check_number(cfg, key, positive=False, integer=True)
    check_number(cfg, "optimizer.lr")
    check_number(cfg, "optimizer.weight_decay", positive=False)
    for key in ("warmup_epochs", "warmup_start_lr", "min_lr"):
        if cfg.scheduler.get(key) is not None:
            check_number(cfg, f"scheduler.{key}", positive=False)


def _check_method(cfg: DictConfig) -> None:
    if cfg.get("method") not in host.METHODS:
        raise not_accepted("method", cfg.get("method"), sorted(host.METHODS))
    accepted = host.method_keys(cfg.method)
    for key in cfg.get("method_kwargs") or {}:
        if key not in accepted:
            raise unknown_key(f"method_kwargs.{key}", accepted, f" for {cfg.method}")


def _check_views(cfg: DictConfig) -> None:
    views = cfg.get("augmentations")
    check_entries(host.plain(views))
    same = [v for v in views if v.crop_size == views[0].crop_size]
    cfg.data.num_large_crops = sum(v.num_crops for v in same)
    cfg.data.num_small_crops = sum(v.num_crops for v in views) - cfg.data.num_large_crops
    check_views(cfg)


def fill(cfg: DictConfig, key: str, value: Any) -> None:
    if OmegaConf.select(cfg, key) is None:
        OmegaConf.update(cfg, key, value, force_add=True)


COMMON = {
    "seed": DEFAULT_SEED,
    "accelerator": "auto",
    "devices": "1",
    "precision": "auto",
    "checkpoint.dir": "runs",
    "data.num_workers": 4,
}
TRAINED = {
    "num_nodes": 1,
    "checkpoint.enabled": True,
    "checkpoint.frequency": 1,
    "checkpoint.keep_prev": False,
    "wandb.enabled": False,
    "tensorboard.enabled": False,
    "auto_resume.enabled": False,
    "performance.disable_channel_last": False,
    "optimizer.kwargs": {},
    "optimizer.weight_decay": 0.0,
    "scheduler.name": "warmup_cosine",
}
_PRETRAINED = {
    "optimizer.classifier_lr": 0.1,
    "backbone.kwargs": {},
    "method_kwargs": {},
    "knn_eval.enabled": False,
    "monitor.every_n_steps": 50,
    "momentum": {},
    "accumulate_grad_batches": 1,
    "data.format": "image_folder",
    "data.no_labels": False,
    "data.fraction": -1,
    "data.train_path": None,
    "data.val_path": None,
    "data.augment": AUGMENT[0],
}


def fill_all(cfg: DictConfig, *defaults: dict[str, Any]) -> None:
    for table in defaults:
        for key, value in table.items():
            fill(cfg, key, value)
    if OmegaConf.select(cfg, "optimizer.name") in ("sgd", "lars"):
        fill(cfg, "optimizer.kwargs.momentum", 0.9)


def pretrain_settings(cfg: DictConfig) -> DictConfig:
    """Check a composed pre-training configuration and fill in what it leaves out.

    The learning rates stay base values; ``scale_learning_rate`` follows when the devices are known.

    Raises:
        UserError: unknown key, method, data set or backbone, or a value out of range.
    """
    cfg = OmegaConf.create(host.plain(cfg))
    check_keys(host.plain(cfg), SCHEMAS["pretrain"])
    _check_method(cfg)
    for section in ("data", "optimizer", "backbone"):
        if cfg.get(section) is None:
            raise UserError(
                f"{section}: missing, accepted: a section with {', '.join(SCHEMAS['pretrain'][section])}"
            )
    with open_dict(cfg):
        dataset_info(cfg.data.get("dataset"))
        fill_all(cfg, COMMON, TRAINED, _PRETRAINED)
        fill(cfg, "name", f"{cfg.method}-{cfg.data.dataset}")
        _check_views(cfg)
        cfg.image_size = int(cfg.augmentations[0].crop_size)
        if cfg.backbone.name and str(cfg.backbone.name).startswith(("vit", "swin")):
            # HEAD leaves timm's 224 in place, which refuses any other crop
            fill(cfg, "backbone.kwargs.img_size", cfg.image_size)
            if cfg.data.num_small_crops:
                fill(cfg, "backbone.kwargs.dynamic_img_size", True)  # else it refuses the smaller views
    if cfg.data.augment not in AUGMENT:
        raise not_accepted("data.augment", cfg.data.augment, AUGMENT)
    check_training(cfg)
    check_number(cfg, "monitor.every_n_steps", positive=False, integer=True)
    check_number(cfg, "accumulate_grad_batches", integer=True)
    check_number(cfg, "optimizer.classifier_lr", positive=False)
    if cfg.knn_eval.get("k") is not None:
        check_number(cfg, "knn_eval.k", integer=True)
    if cfg.knn_eval.get("distance_func", DISTANCES[0]) not in DISTANCES:
        raise not_accepted("knn_eval.distance_func", cfg.knn_eval.distance_func, DISTANCES)
    check_momentum(cfg)
    if cfg.momentum.get("classifier") and cfg.data.no_labels:
        raise UserError("momentum.classifier: found true with data.no_labels=true, accepted: false")
    if cfg.backbone.name not in host.BACKBONES:
        raise not_accepted("backbone.name", cfg.backbone.name, host.BACKBONES)
    host.stem_kind(host.plain(cfg.backbone), cfg.data.dataset, cfg.image_size)
    host.stem_stride(host.plain(cfg.backbone))
    check_network(cfg)
    if (host.plain(cfg.get("auto_umap")) or {}).get("enabled"):
        raise UserError(
            "auto_umap.enabled: found true, accepted: false (`solo-intl embed` writes features to plot)"
        )
    return cfg


def count_labels(cfg: DictConfig, unlabelled: bool) -> None:
    """Set ``data.num_classes``, never the number of images of an unlabelled folder."""
    with open_dict(cfg):
        cfg.data.no_labels = unlabelled
        cfg.data.num_classes = 1 if unlabelled else count_classes(cfg.data)


def scale_learning_rate(cfg: DictConfig, world_size: int) -> DictConfig:
    """Turn base learning rates into effective ones: rate x global batch / 256."""
    scale = cfg.optimizer.batch_size * world_size / 256
    with open_dict(cfg):
        for key in ("lr", "classifier_lr"):
            if cfg.optimizer.get(key) is not None:
                cfg.optimizer[key] = cfg.optimizer[key] * scale
    return cfg
