"""INTL: IterNorm with trace loss ("Modulate Your Spectrum in Self-Supervised Learning", ICLR 2024)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf, open_dict

from solo_intl.errors import UserError
from solo_intl.host import BaseMethod
from solo_intl.losses import (
    INTLLoss,
    INTLOutput,
    default_beta,
    spectrum_rank,
    trace_loss_floor,
    whitened_size,
)
from solo_intl.methods.projector import projector

FINAL_LR_RATIO = 1e-3  # of the scaled learning rate (paper, section 3)


def intl_defaults(cfg: DictConfig) -> DictConfig:
    """Fill in the paper's settings where ``cfg`` is silent; the optimizer's rate is already scaled.

    Raises:
        UserError: a projector width is missing, or T, beta or the axis is out of range.
    """
    with open_dict(cfg):
        kwargs = cfg.setdefault("method_kwargs", OmegaConf.create({}))
        for key in ("proj_hidden_dim", "proj_output_dim"):
            if not isinstance(kwargs.get(key), int) or kwargs[key] < 2:
                raise UserError(f"method_kwargs.{key}: found {kwargs.get(key)!r}, accepted: an integer >= 2")
        kwargs.setdefault("iterations", 4)
        kwargs.setdefault("beta", None)
        kwargs.setdefault("axis", "channel")
        schedule = {
            "warmup_start_lr": 0.0,
            "warmup_epochs": 2,
            "min_lr": FINAL_LR_RATIO * cfg.optimizer.lr,
        }
        for key, default in schedule.items():
            if cfg.scheduler.get(key) is None:
                cfg.scheduler[key] = default
    if not isinstance(kwargs.iterations, int) or kwargs.iterations < 0:
        raise UserError(f"method_kwargs.iterations: found {kwargs.iterations!r}, accepted: an integer >= 0")
    if kwargs.axis not in ("channel", "batch"):
        raise UserError(f"method_kwargs.axis: found {kwargs.axis!r}, accepted: channel, batch")
    if kwargs.beta is not None and not isinstance(kwargs.beta, int | float):
        raise UserError(
            f"method_kwargs.beta: found {kwargs.beta!r}, accepted: a number, or null for the rule"
        )
    return cfg


class INTL(BaseMethod):
    """One network: L = mean over i >= 1 of norm_mse(Zhat_i, Zhat_0) + beta (INTL(Zhat_i) + INTL(Zhat_0)).

    Two views or more, of any sizes; each is a forward pass of its own, so BatchNorm sees one view at a time.

    ``cfg.method_kwargs``: ``proj_hidden_dim``, ``proj_output_dim``, ``iterations`` (T, default 4), ``beta``
    (default: the paper's rule from the global batch), ``axis`` ("channel" or "batch").
    """

    METHOD_KWARGS = ("proj_hidden_dim", "proj_output_dim", "iterations", "beta", "axis")
    ANY_VIEWS = True  # the loss takes every view, however many and of whatever size, from two on

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.projector = projector(self.features_dim, kwargs.proj_hidden_dim, kwargs.proj_output_dim)
        self.loss = INTLLoss(
            beta=kwargs.beta, iterations=kwargs.iterations, axis=kwargs.axis, gather_distributed=True
        )

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        # ours first: HEAD's base class fills in a schedule of its own
        return super(INTL, INTL).add_and_assert_specific_cfg(intl_defaults(cfg))

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        return [*super().learnable_params, {"name": "projector", "params": self.projector.parameters()}]

    @property
    def global_batch(self) -> int:
        """m: images that are whitened together, over all processes."""
        return int(self.cfg.optimizer.batch_size) * int(self.trainer.world_size)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        kwargs = self.cfg.method_kwargs
        m, d = self.global_batch, kwargs.proj_output_dim
        if kwargs.axis == "channel" and m >= d:
            rank_zero_warn(
                f"INTL: the global batch {m} is not smaller than the embedding size {d}, so channel "
                f"whitening cannot make all {m} eigenvalues equal; raise method_kwargs.proj_output_dim "
                "or lower the batch"
            )
        if (n := self.trainer.accumulate_grad_batches) > 1:
            rank_zero_warn(
                f"INTL: accumulate_grad_batches={n} adds up gradients; whitening and beta see the {m} images "
                f"of one batch, not {n * m}; only a larger batch or more processes whiten more together"
            )
        size = whitened_size(m, d, kwargs.axis)
        beta = kwargs.beta
        if beta is None:
            try:
                beta = default_beta(size)
            except ValueError as error:
                raise UserError(f"method_kwargs.beta: found null, but {error}") from None
        if beta <= 0:
            rank_zero_warn(
                f"INTL: beta is {beta:g}; without a positive trace loss the embedding may collapse"
            )

    def forward(self, X: torch.Tensor) -> dict[str, Any]:
        out = super().forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def multicrop_forward(self, X: torch.Tensor) -> dict[str, Any]:
        out = super().multicrop_forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._loss_step(batch, batch_idx)

    def _loss_step(self, batch: Any, batch_idx: int, target: torch.Tensor | None = None) -> torch.Tensor:
        """INTL loss of every view in ``batch``, against ``target`` [m, d] or else against the first view."""
        out = super().training_step(batch, batch_idx)
        every = self.trainer.log_every_n_steps
        logging = every > 0 and (self.trainer.global_step + 1) % every == 0
        # looking for non-finite values waits for the device, so only on steps that wait to log anyway
        self.loss.check_finite = logging
        try:
            intl = self.loss(out["z"], target)
        except ValueError as error:
            raise UserError(f"INTL, step {self.trainer.global_step}: {error}") from None
        # without a target `trace` adds up both views of a pair, so its floor is twice one view's
        self._log_parts(intl, out["z"][0].shape, floors=2 if target is None else 1)
        return intl.loss + out["loss"]

    def _log_parts(self, intl: INTLOutput, shape: torch.Size, floors: int) -> None:
        kwargs = self.cfg.method_kwargs
        m, d = shape[0] * self.trainer.world_size, shape[1]
        size, rank = whitened_size(m, d, kwargs.axis), spectrum_rank(m, d, kwargs.axis)
        floor = trace_loss_floor(size, iterations=kwargs.iterations, rank=rank)
        parts = {
            "train_intl_loss": intl.loss,
            "train_invariance": intl.invariance,
            "train_trace": intl.trace,
            "train_trace_excess": intl.trace - floors * floor,
        }
        self.log_dict(
            {name: value.detach() for name, value in parts.items()},
            on_step=True,
            on_epoch=True,
            sync_dist=True,
        )
