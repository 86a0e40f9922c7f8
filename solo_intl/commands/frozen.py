"""What the commands on a finished checkpoint share: a checkpoint's network and the features of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_intl import host
from solo_intl.config.evaluation import checkpoint_path, data_as_pretrained, evaluation_settings
from solo_intl.data import ImageDataset, dataset_info, eval_transform, normalization, open_split
from solo_intl.engine.precision import resolve_precision, uses_gpu
from solo_intl.errors import UserError
from solo_intl.evaluation import Features, LoadedBackbone, extract_features, load_backbone


@dataclass
class Frozen:
    """A network ready for evaluation, and the configuration it was built from."""

    cfg: DictConfig
    backbone: nn.Module
    features_dim: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checkpoint: Path | None
    network: str  # "online", "momentum" or "untrained"
    built_from: DictConfig

    @property
    def transform(self) -> Any:
        """The evaluation transform: the size and the statistics that the network was trained with."""
        return eval_transform(self.image_size, self.mean, self.std)

    def split(self, split: str) -> ImageDataset:
        """One split of the evaluation data under the evaluation transform."""
        return open_split(self.cfg.data, split, self.transform)

    def features(self, dataset: ImageDataset) -> Features:
        """Backbone features in the order of the data set."""
        return extract_features(
            self.backbone,
            dataset,
            batch_size=self.cfg.get("batch_size", 256),
            num_workers=self.cfg.data.get("num_workers", 0),
            device="cuda" if uses_gpu(self.cfg.accelerator) else "cpu",
            precision=resolve_precision(self.cfg.precision, self.cfg.accelerator),
        )


def open_checkpoint(cfg: DictConfig, command: str) -> tuple[DictConfig, LoadedBackbone]:
    """Check ``cfg`` and load the checkpoint it names: the online network, or with ``use_momentum`` the other.

    Raises:
        UserError: no such checkpoint or network, or weights that do not fit.
    """
    cfg = evaluation_settings(cfg, command)
    path = checkpoint_path(cfg, command)
    network = "momentum" if cfg.use_momentum else "online"
    cfg.pretrained_feature_extractor = str(path)
    # for a file without a config of its own: solo-learn's, or the authors'
    method = cfg.get("pretrain_method") or "intl"  # HEAD builds some networks by method
    backbone_cfg = {**host.plain(cfg.backbone), "method": method}
    data_cfg = {**host.plain(cfg.data), "image_size": cfg.get("image_size")}
    return cfg, load_backbone(path, backbone_cfg=backbone_cfg, data_cfg=data_cfg, network=network)


def open_frozen(cfg: DictConfig, command: str) -> Frozen:
    """Read the checkpoint that ``cfg`` names and complete ``cfg.data`` from it.

    Raises:
        UserError: as :func:`open_checkpoint`, or unknown data.
    """
    cfg, loaded = open_checkpoint(cfg, command)
    pretrained = loaded.cfg if loaded.cfg.get("data") else None
    cfg.data = data_as_pretrained(cfg, pretrained)
    if pretrained is not None and pretrained.get("augmentations"):
        mean, std = normalization(pretrained.data, pretrained.augmentations)
    else:
        mean, std = normalization(cfg.data)
    size = int(cfg.get("image_size") or loaded.cfg.image_size)
    backbone = loaded.backbone.to(memory_format=torch.channels_last)
    return Frozen(
        cfg,
        backbone,
        loaded.features_dim,
        size,
        tuple(mean),
        tuple(std),
        loaded.path,
        loaded.network,
        loaded.cfg,
    )


def build_untrained(cfg: DictConfig) -> Frozen:
    """The network that ``cfg`` describes with the initial weights of its seed; ``cfg.data`` must be complete.

    Raises:
        UserError: no ``backbone.name`` or ``data.dataset``, or one that does not exist.
    """
    native = dataset_info(cfg.data.get("dataset")).image_size
    size = int(cfg.get("image_size") or native or 224)
    backbone = {"kwargs": {}, "stem": "auto", "stem_stride": 1, **host.plain(cfg.backbone)}
    if not backbone.get("name"):
        raise UserError(f"backbone.name: found none, accepted: {', '.join(host.BACKBONES)}")
    method = cfg.get("pretrain_method") or "intl"
    data = {"dataset": cfg.data.dataset}
    built_from = OmegaConf.create({"method": method, "backbone": backbone, "data": data, "image_size": size})
    seed_everything(cfg.seed, workers=True, verbose=False)
    network, features_dim = host.build_backbone(built_from)
    network = network.to(memory_format=torch.channels_last)
    mean, std = normalization(cfg.data)
    return Frozen(cfg, network, features_dim, size, mean, std, None, "untrained", built_from)
