"""The paper's semi-supervised protocol: backbone and classifier fine-tuned on a few labelled images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_intl import host
from solo_intl.config import scale_learning_rate
from solo_intl.data import (
    ImageDataset,
    count_classes,
    dataset_info,
    eval_transform,
    open_split,
    train_transform,
)
from solo_intl.engine.supervised import fit_labelled
from solo_intl.engine.trainer import build_trainer
from solo_intl.errors import UserError


class FineTuning(LightningModule):
    """A backbone and a new linear layer, both trained, each at its own rate.

    Args:
        backbone: images [m, 3, height, width] to features [m, features_dim].
        features_dim: width of the features.
        cfg: ``optimizer`` with effective ``lr`` (backbone) and ``classifier_lr``, ``scheduler``, ``data``.
        built_from: the configuration of the network, stored so that other commands read the checkpoint.
    """

    def __init__(
        self, backbone: nn.Module, features_dim: int, cfg: DictConfig, built_from: DictConfig
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.built_from = built_from
        # a loaded network comes frozen and in evaluation mode
        self.backbone = backbone.requires_grad_(True).train()
        self.classifier = nn.Linear(features_dim, cfg.data.num_classes)
        # a small random start, as the authors' code has it
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [m, classes]."""
        if not self.cfg.performance.disable_channel_last:
            images = images.to(memory_format=torch.channels_last)
        return self.classifier(self.backbone(images))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        logits = self(images)
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices.eq(labels[:, None])
        figures = {
            "val_loss": nn.functional.cross_entropy(logits, labels),
            "val_acc1": 100 * ranked[:, 0].float().mean(),
            "val_acc5": 100 * ranked.any(dim=1).float().mean(),
        }
        self.log_dict(figures, on_epoch=True, sync_dist=True, batch_size=len(images))

    def configure_optimizers(self) -> Any:
        # as for the backbone's: the batch of a step counts, not that of a forward pass
        classifier_lr = self.cfg.optimizer.classifier_lr * self.cfg.accumulate_grad_batches
        groups = [
            {"name": "backbone", "params": self.backbone.parameters()},
            {"name": "classifier", "params": self.classifier.parameters(), "lr": classifier_lr},
        ]
        return host.optimizer_with_schedule(self, groups)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[host.CHECKPOINT_KEY] = {"cfg": host.plain(self.built_from)}


def open_labelled(
    cfg: DictConfig, size: int, statistics: tuple[Any, Any]
) -> tuple[ImageDataset, ImageDataset]:
    """The labelled training images under crops and flips, and the whole validation split.

    Raises:
        UserError: no labels, or a class without a labelled image.
    """
    flip = dataset_info(cfg.data.dataset).mirrored
    crops = train_transform(size, *statistics, min_scale=cfg.crop_min_scale, flip=flip)
    train = open_split(cfg.data, "train", crops)
    val = open_split(cfg.data, "val", eval_transform(size, *statistics))
    for split, dataset in (("train", train), ("val", val)):
        if not dataset.has_labels:
            raise UserError(f"data.{split}_path: found images without labels, accepted: class folders")
    absent = set(range(len(train.classes))) - set(train.labels)
    if absent:
        raise UserError(
            f"data: found {len(train)} labelled images, none of {len(absent)} of the {len(train.classes)} "
            f"classes ({train.classes[min(absent)]} first), accepted: data.fraction, data.max_images or "
            "data.subset_file with at least one of each"
        )
    return train, val


def finetune(
    cfg: DictConfig,
    network: tuple[nn.Module, int, DictConfig],
    data: tuple[ImageDataset, ImageDataset],
    folder: Path,
) -> dict[str, float | None]:
    """Fine-tune; top-1, top-5 (in percent) and loss on the validation split after the last epoch.

    Top-5 is None where there are five classes or fewer.

    Args:
        cfg: the fine-tuning configuration with ``data`` complete and base learning rates.
        network: backbone, width of its features, and the configuration it was built from.
        data: training and validation images.
        folder: the planned run folder; created once data and Trainer are ready.
    """
    train, val = data
    cfg.data.num_classes = count_classes(cfg.data)
    trainer = build_trainer(cfg, folder)
    base_cfg = cfg.copy()
    scale_learning_rate(cfg, trainer.world_size)
    seed_everything(cfg.seed, workers=True, verbose=False)
    backbone, features_dim, built_from = network
    model = FineTuning(backbone, features_dim, cfg, built_from)
    batch = int(cfg.optimizer.batch_size)
    # BatchNorm can't normalise a batch of one image
    alone = math.ceil(len(train) / trainer.world_size) % batch == 1
    return fit_labelled(trainer, model, (train, val), folder, base_cfg, command="finetune", drop_last=alone)
