"""Which keys a configuration may hold: HEAD's, ours, and every argument of Lightning's Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from solo_intl.errors import UserError, unknown_key

ANY: dict[str, Any] = {"*": None}  # a section whose keys somebody else checks

_DATA = dict.fromkeys(
    (
        *("dataset", "train_path", "val_path", "format", "num_workers", "no_labels", "fraction"),
        *("max_images", "subset_seed", "subset_file", "download", "augment"),
        *("num_classes", "num_large_crops", "num_small_crops"),
    )
)
_SHARED: dict[str, Any] = {
    **dict.fromkeys(("name", "seed", "image_size")),
    "data": _DATA,
    "backbone": {"name": None, "kwargs": ANY, "stem": None, "stem_stride": None},
    "checkpoint": dict.fromkeys(("enabled", "dir", "frequency", "keep_prev")),
}
_TRAINER = dict.fromkeys(
    name
    for name in inspect.signature(Trainer.__init__).parameters
    if name not in ("self", "logger", "callbacks", "default_root_dir", "enable_checkpointing")
)
_TRAINED: dict[str, Any] = {
    **_TRAINER,
    **_SHARED,
    "optimizer": {
        **dict.fromkeys(("name", "batch_size", "lr", "final_lr", "classifier_lr", "weight_decay")),
        "exclude_bias_n_norm_wd": None,
        "kwargs": ANY,
    },
    "scheduler": dict.fromkeys(
        ("name", "min_lr", "warmup_start_lr", "warmup_epochs", "lr_decay_steps", "interval")
    ),
    "auto_resume": dict.fromkeys(("enabled", "max_hours")),
    "resume_from_checkpoint": None,
    "wandb": dict.fromkeys(("enabled", "entity", "project", "offline")),
    "tensorboard": {"enabled": None},
    "performance": {"disable_channel_last": None},
    "dali": ANY,
}
_CHECKPOINT = dict.fromkeys(("pretrained_feature_extractor", "pretrain_method", "use_momentum"))
_FROZEN: dict[str, Any] = {
    **_SHARED,
    **_CHECKPOINT,
    **dict.fromkeys(("batch_size", "precision", "devices", "accelerator")),
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "pretrain": {
        **_TRAINED,
        **dict.fromkeys(("method", "dry_run", "debug_augmentations")),
        "method_kwargs": ANY,
        "momentum": dict.fromkeys(("base_tau", "final_tau", "classifier")),
        "augmentations": ANY,
        "monitor": {"every_n_steps": None},
        "knn_eval": dict.fromkeys(("enabled", "k", "distance_func")),
        "auto_umap": ANY,
    },
    "linear": {
        **_TRAINED,
        **_CHECKPOINT,
        "protocol": None,
        # HEAD's, refused unless off: the paper's protocols use none of them
        **dict.fromkeys(("finetune", "auto_augment", "label_smoothing", "mixup", "cutmix")),
    },
    "finetune": {**_TRAINED, **_CHECKPOINT, **dict.fromkeys(("from_scratch", "crop_min_scale"))},
    "knn": {**_FROZEN, **dict.fromkeys(("k", "distance", "vote", "temperature"))},
    "embed": {**_FROZEN, **dict.fromkeys(("folder", "split", "format"))},
    "compare": {
        **dict.fromkeys(("name", "note", "pretrain", "methods", "rates", "seeds", "jobs", "report")),
        "budget": dict.fromkeys(("max_epochs", "minutes")),
        "overrides": ANY,
        "checkpoint": {"dir": None},
    },
    "export": {**_FROZEN, **dict.fromkeys(("to", "output"))},
}
# groups of files in solo-learn's YAML: `augmentations=symmetric` picks a file and must stay Hydra's
GROUPS = ("augmentations", "wandb")


def check_keys(found: Mapping[str, Any], accepted: Mapping[str, Any], path: str = "") -> None:
    """Raise on the first key that is not in the schema.

    Raises:
        UserError: naming the key with its path and the nearest accepted one.
    """
    for key, value in found.items():
        if key not in accepted:
            raise unknown_key(f"{path}{key}", accepted)
        inner = accepted[key]
        if inner in (None, ANY) or value is None:
            continue
        if not isinstance(value, Mapping):
            raise UserError(f"{path}{key}: found {value!r}, accepted: a section with {', '.join(inner)}")
        check_keys(value, inner, f"{path}{key}.")


def is_known(dotted: str, schema: Mapping[str, Any]) -> bool:
    """Whether an override's key, such as ``scheduler.min_lr``, is in the schema."""
    node: Any = schema
    for part in dotted.split("."):
        if node in (None, ANY):
            return node is ANY
        if part not in node:
            return False
        node = node[part]
    return True
