"""Defaults and checks of the commands on a finished checkpoint, and which checkpoint that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from solo_intl import host
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.config.settings import COMMON, TRAINED, check_number, check_training, fill, fill_all
from solo_intl.data import dataset_info
from solo_intl.errors import UserError, not_accepted

SUBSET_KEYS = ("fraction", "max_images", "subset_file", "subset_seed")
FINETUNED = {
    "from_scratch": False,
    "optimizer.classifier_lr": 0.2,
    "scheduler.warmup_epochs": 0,
    "crop_min_scale": 0.08,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
}


def linear_settings(cfg: DictConfig, optimizers: Sequence[str]) -> None:
    """Check the training part of a linear evaluation. Adam's protocol may leave its batch size to the images.

    Raises:
        UserError: a number out of range, or an optimizer that is not the protocol's.
    """
    if cfg.optimizer.get("name") not in optimizers:
        raise not_accepted("optimizer.name", cfg.optimizer.get("name"), optimizers)
    check_training(cfg, batch="auto" if "adam" in optimizers else "")


def finetune_settings(cfg: DictConfig) -> None:
    """Check the training part of a fine-tuning, whose images are another set with every seed.

    Raises:
        UserError: a number out of range, a checkpoint where none is read, or a validation that would miss the
            last epoch.
    """
    fill_all(cfg, FINETUNED)
    if not isinstance(cfg.from_scratch, bool):
        raise UserError(f"from_scratch: found {cfg.from_scratch!r}, accepted: true, false")
    if cfg.from_scratch and cfg.get("pretrained_feature_extractor"):
        raise UserError(
            f"pretrained_feature_extractor: found {cfg.pretrained_feature_extractor} with from_scratch=true, "
            "accepted: null (initial weights have no checkpoint)"
        )
    if cfg.from_scratch and cfg.use_momentum:
        raise UserError(
            "use_momentum: found true with from_scratch=true, accepted: false (initial weights have no "
            "momentum network)"
        )
    fill(cfg, "data.subset_seed", cfg.seed)
    check_training(cfg)
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        check_number(cfg, key, integer=True)
    for key in ("optimizer.classifier_lr", "crop_min_scale"):
        check_number(cfg, key)
    if cfg.crop_min_scale > 1:
        raise UserError(f"crop_min_scale: found {cfg.crop_min_scale}, accepted: above 0 and at most 1")
    check_last_epoch(cfg)


def check_last_epoch(cfg: DictConfig) -> None:
    """Training that ends with its last epoch, and with a validation of the whole split.

    Raises:
        UserError: the result would be another epoch's, a part's, or none at all.
    """
    every = cfg.get("check_val_every_n_epoch") or 1
    if cfg.max_epochs % every:
        raise UserError(
            f"check_val_every_n_epoch: found {every}, accepted: a divisor of max_epochs ({cfg.max_epochs}), "
            "because the result is the last epoch's"
        )
    limit = cfg.get("limit_val_batches")
    if not (limit is None or (isinstance(limit, float) and limit == 1)):  # 1 is one batch, 1.0 is all
        raise UserError(f"limit_val_batches: found {limit}, accepted: null (the whole validation split)")
    if cfg.get("limit_train_batches") == 0:
        raise UserError("limit_train_batches: found 0, accepted: null, or more")
    for key, unset in (
        ("max_steps", -1),
        ("max_time", None),
        ("fast_dev_run", False),
        ("overfit_batches", 0),
    ):
        if cfg.get(key) not in (None, unset):
            raise UserError(
                f"{key}: found {cfg[key]}, accepted: null; training ends with its last epoch, max_epochs"
            )


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


def evaluation_settings(cfg: DictConfig, command: str) -> DictConfig:
    """Check a composed evaluation configuration and fill in what it leaves out.

    Raises:
        UserError: unknown key, or a value that is not accepted.
    """
    cfg = OmegaConf.create(host.plain(cfg))
    check_keys(host.plain(cfg), SCHEMAS[command])
    with open_dict(cfg):
        for section in ("data", "backbone"):
            fill(cfg, section, {})
        trains = "optimizer" in SCHEMAS[command]
        fill_all(cfg, COMMON, *([TRAINED] if trains else []))
        if not trains:
            fill(cfg, "batch_size", 256)
            check_number(cfg, "batch_size", integer=True)
        check_number(cfg, "data.num_workers", positive=False, integer=True)
        fill(cfg, "name", command)
        fill(cfg, "use_momentum", False)
    if not isinstance(cfg.use_momentum, bool):
        raise UserError(f"use_momentum: found {cfg.use_momentum!r}, accepted: true, false")
    return cfg


def checkpoint_path(cfg: DictConfig, command: str) -> Path:
    """The checkpoint that ``pretrained_feature_extractor`` names, or the newest pre-training run's.

    Raises:
        UserError: none is named and none can be found.
    """
    given = cfg.get("pretrained_feature_extractor")
    given = None if given == "None" else given  # solo-learn's own YAML says None, which YAML reads as text
    path = Path(given).expanduser() if given else newest_checkpoint(Path(cfg.checkpoint.dir))
    if not given:
        print(f"solo-intl {command}: no pretrained_feature_extractor given, using {path}")
    return path


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
