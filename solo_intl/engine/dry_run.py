"""What a pre-training would cost, from a few of its own steps."""

from __future__ import annotations

import time
from typing import Any

from omegaconf import DictConfig

from solo_intl.engine.clock import SKIPPED_STEPS
from solo_intl.engine.pretrain import Pretraining, peak_memory_gib, prepare
from solo_intl.errors import UserError


def measure_steps(cfg: DictConfig) -> Pretraining:
    """Take a few real steps, nothing written; the clock of what is returned holds each step's seconds.

    Raises:
        UserError: an epoch has too few batches to measure.
    """
    cfg = cfg.copy()
    cfg.dry_run = True
    run = prepare(cfg)
    run.trainer.fit(run.model, run.train)
    if not run.clock.seconds:
        raise UserError(
            f"optimizer.batch_size: found {run.cfg.optimizer.batch_size}, so {run.batches} batches an epoch; "
            f"accepted for a dry run: more than {SKIPPED_STEPS} batches an epoch"
        )
    return run


def seconds_per_epoch(cfg: DictConfig) -> float:
    """What an epoch would take with validation, from a few real steps; nothing is written."""
    run = measure_steps(cfg)
    validation = 0.0
    if run.val is not None:
        views = run.cfg.data.num_large_crops + run.cfg.data.num_small_crops
        limit = run.cfg.get("limit_val_batches")  # batches, or their share
        batches = float(len(run.val))
        if limit is not None:
            batches = min(limit, batches) if isinstance(limit, int) else limit * batches
        batches /= run.cfg.get("check_val_every_n_epoch") or 1
        validation = batches * run.clock.median / (3 * views)  # no backward pass, and one view
    return run.clock.median * run.batches + validation


def dry_run(cfg: DictConfig) -> dict[str, Any]:
    """Take a few real steps and say what the whole run would cost; nothing is written."""
    started = time.perf_counter()
    run = measure_steps(cfg)
    wall = time.perf_counter() - started
    data, optimizer, world = run.cfg.data, run.cfg.optimizer, run.trainer.world_size
    images = len(run.train.dataset)  # type: ignore[arg-type]
    accumulated, batch = run.cfg.accumulate_grad_batches, run.clock.median
    hours = batch * run.batches * run.cfg.max_epochs / 3600
    return {
        "method": run.cfg.method,
        "data set": f"{data.dataset}, {images:,} images, {data.num_classes} classes",
        "whitened batch": f"{optimizer.batch_size * world} ({optimizer.batch_size} x {world})",
        "learning rate": f"{optimizer.lr * accumulated:g} effective, "
        f"classifier {optimizer.classifier_lr * accumulated:g}",
        "steps": f"{run.steps:,} in {run.cfg.max_epochs} epochs",
        "parameters": f"{sum(p.numel() for p in run.model.parameters()) / 1e6:.2f} million",
        "precision": str(run.trainer.precision),
        "peak memory": f"{peak_memory_gib():.2f} GiB",
        "batch": f"{batch:.3f} s, loading included (median of {len(run.clock.seconds)}, {wall:.1f} s in all)",
        "estimated training time": f"{hours:.2f} h without validation",
    }
