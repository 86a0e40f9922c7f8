"""Defaults and checks that solo-learn's ``parse_cfg`` makes, without its traps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from solo_intl import host
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.data import count_classes, dataset_info
from solo_intl.errors import UserError, nearest

DEFAULT_SEED = 5  # solo-learn's


def _check_number(cfg: DictConfig, key: str, *, positive: bool = True, integer: bool = False) -> None:
    value = OmegaConf.select(cfg, key)
    kinds = (int,) if integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < 0 or (positive and value == 0):
        kind = "integer" if integer else "number"
        raise UserError(
            f"{key}: found {value!r}, accepted: a {'positive' if positive else 'non-negative'} {kind}"
        )


def _check_method(cfg: DictConfig) -> None:
    if cfg.get("method") not in host.METHODS:
        raise UserError(
            f"method: found {cfg.get('method')!r}, {nearest(str(cfg.get('method')), host.METHODS)}"
        )
    accepted = host.method_keys(cfg.method)
    for key in cfg.get("method_kwargs") or {}:
        if key not in accepted:
            raise UserError(
                f"method_kwargs.{key}: unknown key for {cfg.method}, {nearest(str(key), accepted)}"
            )


def _check_views(cfg: DictConfig) -> None:
    views = cfg.get("augmentations")
    if not views:
        raise UserError("augmentations: found none, accepted: a list with one entry per kind of view")
    needed = ("rrc", "color_jitter", "grayscale", "gaussian_blur", "solarization", "equalization")
    for i, view in enumerate(views):
        for key in (*needed, "horizontal_flip", "crop_size", "num_crops"):
            if key not in view:
                raise UserError(f"augmentations[{i}].{key}: missing, accepted: solo-learn's format of a view")
    large = [v for v in views if v.crop_size == views[0].crop_size]
    cfg.data.num_large_crops = sum(v.num_crops for v in large)
    cfg.data.num_small_crops = sum(v.num_crops for v in views) - cfg.data.num_large_crops
    if cfg.method == "intl" and (cfg.data.num_large_crops, cfg.data.num_small_crops) != (2, 0):
        total = cfg.data.num_large_crops + cfg.data.num_small_crops
        raise UserError(f"augmentations: found {total} views, accepted by intl: 2 of the same crop_size")


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
    "scheduler.name": "warmup_cosine",
}
_PRETRAINED = {
    "optimizer.classifier_lr": 0.1,
    "optimizer.weight_decay": 0.0,
    "backbone.kwargs": {},
    "method_kwargs": {},
    "knn_eval.enabled": False,
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
    for key in ("optimizer.batch_size", "max_epochs", "accumulate_grad_batches"):
        _check_number(cfg, key, integer=True)
    _check_number(cfg, "optimizer.lr")
    for key in ("optimizer.classifier_lr", "optimizer.weight_decay"):
        _check_number(cfg, key, positive=False)
    if cfg.backbone.name not in host.BACKBONES:
        raise UserError(
            f"backbone.name: found {cfg.backbone.name!r}, {nearest(str(cfg.backbone.name), host.BACKBONES)}"
        )
    host.stem_kind(host.plain(cfg.backbone), cfg.data.dataset, cfg.image_size)
    host.stem_stride(host.plain(cfg.backbone))
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
        _fill(cfg, "name", command)
    given = cfg.get("pretrained_feature_extractor")
    given = None if given == "None" else given  # solo-learn's own YAML says None, which YAML reads as text
    path = Path(given).expanduser() if given else newest_checkpoint(Path(cfg.checkpoint.dir))
    if not given:
        print(f"solo-intl {command}: no pretrained_feature_extractor given, using {path}")
    return cfg, path


def data_as_pretrained(cfg: DictConfig, pretrained: DictConfig | None) -> DictConfig:
    """Take the ``data`` keys that ``cfg`` leaves null from the pre-training run.

    A data set other than the pre-training one takes nothing.
    """
    merged = host.plain(cfg.data)
    before = host.plain(pretrained.data) if pretrained is not None else {}
    if merged.get("dataset") in (None, before.get("dataset")):
        merged = {**before, **{key: value for key, value in merged.items() if value is not None}}
    if not merged.get("dataset"):
        raise UserError(
            "data.dataset: found null and the checkpoint does not say, accepted: a data set's name"
        )
    dataset_info(merged["dataset"])
    return OmegaConf.create(merged)
