"""How long a run's steps take."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

MEASURED_STEPS, SKIPPED_STEPS = 8, 3  # the first ones warm caches and loader up


class Clock(Callback):
    """Counts batches and logs ``seconds`` of training so far at each epoch's end, over resumed runs too.

    With ``measure`` it also times each batch from the end of the one before, loading included.
    """

    def __init__(self, measure: bool = False) -> None:
        self.measure = measure
        self.batches = 0
        self.seconds: list[float] = []
        self.last = self.before = 0.0
        self.started = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since training began, those of the runs it continues included."""
        return time.perf_counter() - self.started

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.perf_counter() - self.before

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("seconds", self.elapsed, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = float(state_dict["elapsed"])

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.batches += 1
        if not self.measure:
            return
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.batches > SKIPPED_STEPS:
            self.seconds.append(now - self.last)
        self.last = now

    @property
    def median(self) -> float:
        """Median seconds a batch, after the first ones have warmed everything up."""
        return sorted(self.seconds)[len(self.seconds) // 2]
