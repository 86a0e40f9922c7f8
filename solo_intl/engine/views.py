"""The views that training really saw, kept for a reader to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

VIEWS_FILE = "views.npz"
IMAGES = 6


class FirstViews(Callback):
    """Writes the views of the first batch's first images, as pictures, into the run folder.

    ``views.npz``: ``index`` [k] and ``view0``, ``view1``, ... uint8 [k, height, width, 3].

    Args:
        folder: the run folder.
        mean: what the views were normalised with, RGB in [0, 1].
        std: likewise.
    """

    def __init__(self, folder: Path, mean: Sequence[float], std: Sequence[float]) -> None:
        self.file = folder / VIEWS_FILE
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self.done = False

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.done or not trainer.is_global_zero:
            return
        self.done = True
        indices, views, _ = batch
        views = [views] if isinstance(views, Tensor) else views
        pictures: dict[str, Any] = {f"view{i}": self._picture(view[:IMAGES]) for i, view in enumerate(views)}
        np.savez_compressed(self.file, index=indices[:IMAGES].cpu().numpy(), **pictures)

    def _picture(self, view: Tensor) -> np.ndarray:
        shown = view.detach().float().cpu().permute(0, 2, 3, 1) * self.std + self.mean
        return (shown * 255).round().clamp(0, 255).to(torch.uint8).numpy()
