"""The paper's ImageNet linear protocol: SGD on augmented images through a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from solo_intl import host
from solo_intl.config import scale_learning_rate
from solo_intl.data import count_classes, eval_transform, normalization, open_split, train_transform
from solo_intl.engine.resume import resume_checkpoint
from solo_intl.engine.run_folder import open_run_folder
from solo_intl.engine.trainer import build_trainer


def linear_sgd(cfg: DictConfig, backbone: nn.Module, size: int, folder: Path) -> dict[str, float]:
    """Train the linear layer and return final top-1 and top-5 accuracy in percent on the validation split.

    Args:
        cfg: HEAD's linear configuration with ``data`` complete and base learning rates.
        backbone: frozen network.
        size: side of the images in pixels.
        folder: the planned run folder; created once data and Trainer are ready.
    """
    mean, std = normalization(cfg.data)
    train = open_split(cfg.data, "train", train_transform(size, mean, std))
    val = open_split(cfg.data, "val", eval_transform(size, mean, std))
    cfg.data.num_classes = count_classes(cfg.data)
    trainer = build_trainer(cfg, folder)
    base_cfg = cfg.copy()
    scale_learning_rate(cfg, trainer.world_size)
    seed_everything(cfg.seed, workers=True, verbose=False)
    # HEAD's linear model reads these two sections in full
    model = host.LinearModel(backbone, OmegaConf.create(host.plain(cfg)))
    if not cfg.performance.disable_channel_last:
        model = model.to(memory_format=torch.channels_last)

    def loader(dataset: Any, shuffle: bool) -> DataLoader[Any]:
        batch, workers = int(cfg.optimizer.batch_size), int(cfg.data.num_workers)
        return DataLoader(
            dataset,
            batch,
            shuffle,
            num_workers=workers,
            drop_last=shuffle and len(dataset) >= batch,
            persistent_workers=workers > 0,
        )

    resume = resume_checkpoint(base_cfg, "linear")
    if trainer.is_global_zero:
        open_run_folder(folder, base_cfg)
    trainer.fit(model, loader(train, True), loader(val, False), ckpt_path=resume, weights_only=True)
    (folder / "hparams.yaml").unlink(missing_ok=True)
    final = trainer.callback_metrics
    return {
        "top1": float(final["val_acc1"]),
        "top5": float(final["val_acc5"]),
        "loss": float(final["val_loss"]),
    }
