"""Run a Trainer inside a run folder that exists only if training really began."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from solo_intl.engine.resume import DrawsAnew
from solo_intl.engine.run_folder import open_run_folder
from solo_intl.errors import UserError


class _Opens(Callback):
    """Writes configuration and environment when the first step is about to be taken."""

    def __init__(self, folder: Path, cfg: DictConfig, resume: Path | None) -> None:
        self.folder, self.cfg, self.resume = folder, cfg, resume
        self.began = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.began = True
        if trainer.is_global_zero:
            open_run_folder(self.folder, self.cfg, resumed_from=self.resume)


def fit(
    trainer: Trainer,
    model: LightningModule,
    train: Any,
    val: Any,
    folder: Path,
    cfg: DictConfig,
    resume: Path | None,
) -> bool:
    """``Trainer.fit`` that leaves no folder behind when it fails before the first step.

    Returns:
        Whether it trained: False where ``resume`` has all the epochs already.

    Raises:
        UserError: a mistake found while setting up, or a checkpoint to resume from that does not fit.
    """
    opens = _Opens(folder, cfg, resume)
    new = [place for place in (folder, *folder.parents[:2]) if not place.exists()]
    trainer.callbacks.extend([opens, DrawsAnew(cfg.seed)])  # type: ignore[attr-defined]
    try:
        trainer.fit(model, train, val, ckpt_path=resume, weights_only=True)
    except Exception as error:
        if opens.began:
            raise
        _remove(new)  # Lightning's loggers create the folder early
        if resume is not None and not isinstance(error, UserError):
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"resume_from_checkpoint: {resume} does not fit this run: {reason}") from None
        raise
    if not opens.began:
        _remove(new)
    elif trainer.is_global_zero:
        # the CSV logger leaves an empty one; config.yaml is the run's configuration
        (folder / "hparams.yaml").unlink(missing_ok=True)
    return opens.began


def _remove(new: Sequence[Path]) -> None:
    """Take the run folder and the folders made for it away again, if nothing else has moved in."""
    if new:
        shutil.rmtree(new[0], ignore_errors=True)
    for place in new[1:]:
        if place.exists() and not any(place.iterdir()):
            place.rmdir()
