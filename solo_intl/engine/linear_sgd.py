"""The paper's ImageNet linear protocol: SGD on augmented images through a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_intl import host
from solo_intl.config import scale_learning_rate
from solo_intl.data import count_classes, dataset_info, eval_transform, open_split, train_transform
from solo_intl.engine.supervised import fit_labelled
from solo_intl.engine.trainer import build_trainer
from solo_intl.errors import UserError


def linear_sgd(
    cfg: DictConfig, backbone: nn.Module, size: int, statistics: tuple[Any, Any], folder: Path
) -> dict[str, float | None]:
    """Train the linear layer; final top-1 and top-5 on the validation split, in percent.

    Top-5 is None where there are five classes or fewer.

    Args:
        cfg: HEAD's linear configuration with ``data`` complete and base learning rates.
        backbone: frozen network.
        size: side of the images in pixels.
        statistics: mean and standard deviation that pre-training normalised with.
        folder: the planned run folder; created once data and Trainer are ready.
    """
    flip = dataset_info(cfg.data.dataset).mirrored
    train = open_split(cfg.data, "train", train_transform(size, *statistics, flip=flip))
    val = open_split(cfg.data, "val", eval_transform(size, *statistics))
    for split, dataset in (("train", train), ("val", val)):
        if not dataset.has_labels:
            raise UserError(f"data.{split}_path: found images without labels, accepted: class folders")
    cfg.data.num_classes = count_classes(cfg.data)
    trainer = build_trainer(cfg, folder)
    base_cfg = cfg.copy()
    scale_learning_rate(cfg, trainer.world_size)
    seed_everything(cfg.seed, workers=True, verbose=False)
    model = host.LinearModel(backbone, OmegaConf.create(host.plain(cfg)))
    if not cfg.performance.disable_channel_last:
        model = model.to(memory_format=torch.channels_last)
    batch = int(cfg.optimizer.batch_size)
    return fit_labelled(
        trainer, model, (train, val), folder, base_cfg, command="linear", drop_last=len(train) >= batch
    )
