"""Barlow Twins under several processes."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig
from torch import Tensor, nn


def _times_processes(module: nn.Module, inputs: Any, embedding: Tensor) -> Tensor:
    """The embedding, its gradient multiplied by the number of processes."""
    if embedding.requires_grad and dist.is_available() and dist.is_initialized():
        embedding = embedding.clone()
        embedding.register_hook(lambda gradient: gradient * dist.get_world_size())
    return embedding


class MendBarlow:
    """solo-learn's correlation over W processes is an ``all_reduce`` that autograd passes straight through.

    So its share of the gradient is divided by W once with the correlation and once more by
    DistributedDataParallel's mean: backbone and projector learn at 1/W of the rate.
    """

    projector: nn.Module

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)  # type: ignore[call-arg]
        self.projector.register_forward_hook(_times_processes)
