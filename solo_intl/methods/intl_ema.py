"""INTL with a momentum target: Algorithm (b) of "Modulate Your Spectrum in Self-Supervised Learning"."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from solo_intl.errors import UserError
from solo_intl.methods.intl import INTL

TAU = {"base_tau": 0.996, "final_tau": 1.0}  # the paper's, Algorithm (b)


def momentum_coefficient(step: int, total: float, base: float, final: float) -> float:
    """tau of optimizer step t out of K: final - (final - base) (1 + cos(pi t / K)) / 2.

    Args:
        step: t, steps taken before this one; ``base`` holds at t = 0.
        total: K, steps of the whole training; ``final`` holds at t = K.
        base: the first coefficient.
        final: the coefficient after the last step.

    Example:
        >>> [round(momentum_coefficient(t, 10, 0.996, 1.0), 4) for t in (0, 5, 10)]
        [0.996, 0.998, 1.0]
    """
    return final - (final - base) * (1 + math.cos(math.pi * step / total)) / 2


def momentum_defaults(cfg: DictConfig) -> DictConfig:
    """Fill in the paper's coefficients where ``cfg.momentum`` is silent.

    Raises:
        UserError: a coefficient outside [0, 1], or ``momentum.classifier`` is on.
    """
    with open_dict(cfg):
        if cfg.get("momentum") is None:
            cfg.momentum = OmegaConf.create({})
        for key, default in TAU.items():
            if cfg.momentum.get(key) is None:
                cfg.momentum[key] = default
    for key in TAU:
        tau = cfg.momentum[key]
        if isinstance(tau, bool) or not isinstance(tau, int | float) or not 0 <= tau <= 1:
            raise UserError(f"momentum.{key}: found {tau!r}, accepted: a number from 0 to 1")
    if cfg.momentum.get("classifier"):
        raise UserError(
            "momentum.classifier: found true, accepted by intl_ema: false (use linear with use_momentum=true)"
        )
    return cfg


class INTLEMA(INTL):
    """Asymmetric: the first view is the momentum network's alone, the others are the online network's alone.

    L = mean over i >= 1 of norm_mse(Zhat_0, Zhat_i) + beta INTL(Zhat_i), Zhat_0 without gradient. Both
    networks start equal. Before the forward pass of every optimizer step the momentum weights become
    tau w_momentum + (1 - tau) w_online (`momentum_coefficient`). BatchNorm's statistics are never averaged:
    the momentum network, in train mode, has its own. One step of n views costs one forward of the momentum
    network, and n - 1 forwards and backwards of the online one.

    ``cfg.method_kwargs`` as `INTL`; ``cfg.momentum``: ``base_tau`` (0.996), ``final_tau`` (1.0).
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        # the base class counts the views that it forwards: the online network's
        self.num_crops = self.cfg.data.num_large_crops + self.cfg.data.num_small_crops - 1
        # the online classifier sees the large ones, or the first where the only large view is the target
        self.num_large_crops = max(self.cfg.data.num_large_crops - 1, 1)
        self.num_small_crops = self.num_crops - self.num_large_crops
        self.multicrop = self.num_small_crops > 0
        self.momentum_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.momentum_projector = copy.deepcopy(self.projector).requires_grad_(False)

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        return super(INTLEMA, INTLEMA).add_and_assert_specific_cfg(momentum_defaults(cfg))

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(online, momentum) modules of equal structure."""
        return [(self.backbone, self.momentum_backbone), (self.projector, self.momentum_projector)]

    @torch.no_grad()
    def update_momentum(self, tau: float) -> None:
        """Weights of the momentum network become tau times themselves plus 1 - tau times the online ones."""
        for online, momentum in self.momentum_pairs:
            for ours, average in zip(online.parameters(), momentum.parameters(), strict=True):
                average.lerp_(ours, 1 - tau)

    @torch.no_grad()
    def momentum_forward(self, X: torch.Tensor) -> dict[str, Any]:
        """Features and embedding of the momentum network for images [m, 3, height, width]."""
        feats = self.momentum_backbone(self.channels_last(X))
        return {"feats": feats, "z": self.momentum_projector(feats)}

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        trainer = self.trainer
        # once per optimizer step, at its first batch; closed forms of Lightning's counters resume exactly
        if batch_idx % trainer.accumulate_grad_batches == 0:
            momentum = self.cfg.momentum
            tau = momentum_coefficient(
                trainer.global_step, trainer.estimated_stepping_batches, momentum.base_tau, momentum.final_tau
            )
            self.update_momentum(tau)
            # filled in on the device: Lightning would copy a plain number there, and wait for it
            self.log("tau", torch.full((), tau, dtype=torch.float32, device=self.device))
        indices, views, targets = batch
        target = self.momentum_forward(views[0])["z"]
        return self._loss_step([indices, views[1:], targets], batch_idx, target)
