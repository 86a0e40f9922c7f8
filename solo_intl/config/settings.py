"""Defaults and checks that solo-learn's ``parse_cfg`` makes, without its traps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from solo_intl import host
from solo_intl.config.baselines import check_network, check_views
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.data import count_classes, dataset_info
from solo_intl.errors import UserError, not_accepted, unknown_key

DEFAULT_SEED = 5  # solo-learn's


def _check_number(cfg: DictConfig, key: str, *, positive: bool = True, integer: bool = False) -> None:
    value = OmegaConf.select(cfg, key)
    kinds = (int,) if integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < 0 or (positive and value == 0):
        kind = "integer" if integer else "number"
        raise UserError(
            f"{key}: found {value!r}, accepted: a {'positive' if positive else 'non-negative'} {kind}"
        )


def _check_training(cfg: DictConfig) -> None:
    for key in ("max_epochs", "optimizer.batch_size", "checkpoint.frequency"):
        _check_number(cfg, key, integer=True)
    for key in ("seed", "data.num_workers"):
        _check_number(cfg, key, positive=False, integer=True)
    _check_number(cfg, "optimizer.lr")
    _check_number(cfg, "optimizer.weight_decay", positive=False)
    for key in ("warmup_epochs", "warmup_start_lr", "min_lr"):
        if cfg.scheduler.get(key) is not None:
            _check_number(cfg, f"scheduler.{key}", positive=False)


def _check_method(cfg: DictConfig) -> None:
    if cfg.get("method") not in host.METHODS:
        raise not_accepted("method", cfg.get("method"), sorted(host.METHODS))
    accepted = host.method_keys(cfg.method)
    for key in cfg.get("method_kwargs") or {}:
        if key not in accepted:
            raise unknown_key(f"method_kwargs.{key}", accepted, f" for {cfg.method}")


def _check_views(cfg: DictConfig) -> None:
    views = cfg.get("augmentations")
    if not views:
        raise UserError("augmentations: found none, accepted: a list with one entry per kind of view")
    needed = ("rrc", "color_jitter", "grayscale", "gaussian_blur", "solarization", "equalization")
    for i, view in enumerate(views):
        for key in (*needed, "horizontal_flip", "crop_size", "num_crops"):
            if key not in view:
                raise UserError(f"augmentations[{i}].{key}: missing, accepted: solo-learn's format of a view")
    same = [v for v in views if v.crop_size == views[0].crop_size]
    cfg.data.num_large_crops = sum(v.num_crops for v in same)
    cfg.data.num_small_crops = sum(v.num_crops for v in views) - cfg.data.num_large_crops
    check_views(cfg)


def _fill(cfg: DictConfig, key: str, value: Any) -> None:
    if OmegaConf.select(cfg, key) is None:
        OmegaConf.update(cfg, key, value, force_add=True)


_COMMON = {
    "seed": DEFAULT_SEED,
    "accelerator": "auto",
    "devices": "1",
    "precision": "auto",
    "checkpoint.dir": "runs",
    "data.num_workers": 4,
}
_TRAINED = {
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
    "momentum": {},
    "accumulate_grad_batches": 1,
    "data.format": "image_folder",
    "data.no_labels": False,
    "data.fraction": -1,
    "data.train_path": None,
    "data.val_path": None,
}


def _fill_all(cfg: DictConfig, *defaults: dict[str, Any]) -> None:
    for table in defaults:
        for key, value in table.items():
            _fill(cfg, key, value)
    if OmegaConf.select(cfg, "optimizer.name") in ("sgd", "lars"):
        _fill(cfg, "optimizer.kwargs.momentum", 0.9)


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
        _fill_all(cfg, _COMMON, _TRAINED, _PRETRAINED)
        _fill(cfg, "name", f"{cfg.method}-{cfg.data.dataset}")
        _check_views(cfg)
        cfg.image_size = int(cfg.augmentations[0].crop_size)
        if cfg.backbone.name and str(cfg.backbone.name).startswith(("vit", "swin")):
            # HEAD leaves timm's 224 in place, which refuses any other crop
            _fill(cfg, "backbone.kwargs.img_size", cfg.image_size)
            if cfg.data.num_small_crops:
                _fill(cfg, "backbone.kwargs.dynamic_img_size", True)  # else it refuses the smaller views
    _check_training(cfg)
    _check_number(cfg, "accumulate_grad_batches", integer=True)
    _check_number(cfg, "optimizer.classifier_lr", positive=False)
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


def linear_settings(cfg: DictConfig, optimizers: Sequence[str]) -> None:
    """Check the training part of a linear evaluation.

    Raises:
        UserError: a number out of range, or an optimizer that is not the protocol's.
    """
    if cfg.optimizer.get("name") not in optimizers:
        raise not_accepted("optimizer.name", cfg.optimizer.get("name"), optimizers)
    _check_training(cfg)


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


def newest_checkpoint(root: Path) -> Path:
    """The checkpoint of the latest pre-training run under ``root``.

    Raises:
        UserError: there is none.
    """
    found = sorted((root / "pretrain").glob("*/checkpoints/last.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise UserError(
            f"pretrained_feature_extractor: found null and no run under {root / 'pretrain'}, "
            "accepted: a checkpoint (.ckpt) of `solo-intl pretrain` or solo-learn"
        )
    return found[-1]


def evaluation_settings(cfg: DictConfig, command: str) -> tuple[DictConfig, Path]:
    """Check a composed evaluation configuration; returns it with the checkpoint it is about.

    Raises:
        UserError: unknown key, or no checkpoint is named and none can be found.
    """
    cfg = OmegaConf.create(host.plain(cfg))
    check_keys(host.plain(cfg), SCHEMAS[command])
    with open_dict(cfg):
        for section in ("data", "backbone"):
            _fill(cfg, section, {})
        _fill_all(cfg, _COMMON, *([_TRAINED] if command == "linear" else []))
        if command != "linear":
            _fill(cfg, "batch_size", 256)
            _check_number(cfg, "batch_size", integer=True)
        _check_number(cfg, "data.num_workers", positive=False, integer=True)
        _fill(cfg, "name", command)
        _fill(cfg, "use_momentum", False)
    if not isinstance(cfg.use_momentum, bool):
        raise UserError(f"use_momentum: found {cfg.use_momentum!r}, accepted: true, false")
    given = cfg.get("pretrained_feature_extractor")
    given = None if given == "None" else given  # solo-learn's own YAML says None, which YAML reads as text
    path = Path(given).expanduser() if given else newest_checkpoint(Path(cfg.checkpoint.dir))
    if not given:
        print(f"solo-intl {command}: no pretrained_feature_extractor given, using {path}")
    return cfg, path


def data_as_pretrained(cfg: DictConfig, pretrained: DictConfig | None) -> DictConfig:
    """Take the ``data`` keys that ``cfg`` leaves null from the pre-training run.

    Another data set, or another ``train_path``, takes nothing: labels and subsets go with their images.
    """
    merged = host.plain(cfg.data)
    before = host.plain(pretrained.data) if pretrained is not None else {}
    other_images = merged.get("train_path") not in (None, before.get("train_path"))
    if merged.get("dataset") is None and other_images:
        merged["dataset"] = before.get("dataset")
    elif merged.get("dataset") in (None, before.get("dataset")) and not other_images:
        merged = {**before, **{key: value for key, value in merged.items() if value is not None}}
    if not merged.get("dataset"):
        raise UserError(
            "data.dataset: found null and the checkpoint does not say, accepted: a data set's name"
        )
    dataset_info(merged["dataset"])
    return OmegaConf.create(merged)
