"""What ``linear``, ``knn`` and ``embed`` share: a checkpoint's network and the features of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_intl import host
from solo_intl.config.settings import data_as_pretrained, evaluation_settings
from solo_intl.data import ImageDataset, dataset_info, eval_transform, normalization, open_split
from solo_intl.engine.precision import resolve_precision, uses_gpu
from solo_intl.evaluation import Features, extract_features, load_backbone


@dataclass
class Frozen:
    """A pre-trained network ready for evaluation."""

    cfg: DictConfig
    backbone: nn.Module
    features_dim: int
    image_size: int
    checkpoint: Path

    def split(self, split: str, transform: Any = None) -> ImageDataset:
        """One split of the evaluation data under the evaluation transform."""
        mean, std = normalization(self.cfg.data)
        return open_split(self.cfg.data, split, transform or eval_transform(self.image_size, mean, std))

    def features(self, dataset: ImageDataset) -> Features:
        """Backbone features in the order of the data set."""
        batch = self.cfg.get("batch_size") or 256
        return extract_features(
            self.backbone,
            dataset,
            batch_size=int(batch),
            num_workers=int(self.cfg.data.get("num_workers") or 0),
            device="cuda" if uses_gpu(self.cfg.accelerator) else "cpu",
            precision=resolve_precision(self.cfg.precision, self.cfg.accelerator),
        )


def open_frozen(cfg: DictConfig, command: str) -> Frozen:
    """Read the checkpoint that ``cfg`` names and complete ``cfg.data`` from it.

    Raises:
        UserError: no such checkpoint, weights that do not fit, or unknown data.
    """
    cfg, path = evaluation_settings(cfg, command)
    method = {"method": cfg.get("pretrain_method") or "intl"}  # HEAD builds some networks by method
    backbone_cfg = {**host.plain(cfg.backbone), **method} if cfg.backbone.get("name") else None
    data_cfg = host.plain(cfg.data) if cfg.data.get("dataset") else None
    loaded = load_backbone(path, backbone_cfg=backbone_cfg, data_cfg=data_cfg)
    pretrained = OmegaConf.create(host.plain(loaded.cfg)) if loaded.cfg is not None else None
    cfg.data = data_as_pretrained(cfg, pretrained)
    size = cfg.get("image_size") or (host.image_size(pretrained) if pretrained is not None else None)
    if size is None:
        native = dataset_info(cfg.data.dataset).image_size
        size = native if native is not None else 224
    cfg.pretrained_feature_extractor = str(path)
    return Frozen(
        cfg, loaded.backbone.to(memory_format=torch.channels_last), loaded.features_dim, int(size), path
    )
