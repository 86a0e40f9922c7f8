"""The parity runs on today's stack, for any class that takes HEAD's ``cfg``."""

from __future__ import annotations

import logging
from typing import Any

import common_steps
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

# solo-learn itself gives CIFAR, and nothing else, the small-image stem; elsewhere this host installs its own
SOLO_STEM, OUR_STEM = "cifar10", "custom"
MAE_BACKBONE = {"name": "vit_tiny", "kwargs": {"img_size": common_steps.SIDE, "patch_size": 2}}


def configuration(name: str, tau: tuple[float, float], dataset: str) -> DictConfig:
    method_kwargs = {**common_steps.LEGACY_METHODS, **common_steps.HEAD_ONLY_METHODS}[name]
    cfg: dict[str, Any] = {
        "method": name,
        "backbone": MAE_BACKBONE if name == "mae" else {"name": "resnet18", "kwargs": {}},
        "method_kwargs": method_kwargs,
        "data": {
            "dataset": dataset,
            "num_classes": common_steps.CLASSES,
            "num_large_crops": 2,
            "num_small_crops": 0,
        },
        "optimizer": {"name": "sgd", "batch_size": common_steps.BATCH_SIZE, **common_steps.OPTIM},
        "scheduler": {"name": "none"},
        "image_size": common_steps.SIDE,
        "max_epochs": common_steps.EPOCHS.get(name, 1),
    }
    if name in common_steps.WITH_MOMENTUM:
        classifier = name in common_steps.WITH_MOMENTUM_CLASSIFIER
        cfg["momentum"] = {"base_tau": tau[0], "final_tau": tau[1], "classifier": classifier}
    return OmegaConf.create(cfg)


def figures(
    method: type,
    name: str,
    tau: tuple[float, float] = common_steps.CONSTANT_TAU,
    dataset: str = OUR_STEM,
) -> dict[str, Any]:
    """What ``common_steps.train`` returns for ``method``, a class for the method ``name``."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=common_steps.EPOCHS.get(name, 1),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return common_steps.train(common_steps.recorded(method)(configuration(name, tau, dataset)), trainer)
