"""Fixed batches and view lists for the tests of methods; hooks that record what a network was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from solo_intl.engine.pretrain import Pretraining


def views_of(cfg: Any, sizes: Sequence[int]) -> Any:
    """``cfg`` with one augmentation entry per view, of the crop sizes given."""
    entry = OmegaConf.to_container(cfg.augmentations[0])
    cfg.augmentations = [{**entry, "crop_size": size, "num_crops": 1} for size in sizes]
    return cfg


def fixed_batches(run: Pretraining) -> DataLoader[Any]:
    """One epoch of ``run``'s own batches, the same ones in the same order every time."""
    return DataLoader(list(run.train), batch_size=None)  # type: ignore[arg-type]


def record_inputs(module: nn.Module) -> list[torch.Tensor]:
    """The list that every input of ``module`` will be appended to."""
    seen: list[torch.Tensor] = []
    module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    return seen


def embed(backbone: nn.Module, projector: nn.Module, views: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Embeddings [m, d] of the views, one forward a view with gradient, in train mode."""
    backbone.train(), projector.train()
    return [projector(backbone(view.to(memory_format=torch.channels_last))) for view in views]
