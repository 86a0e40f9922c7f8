"""Training on labelled images and what it reached: shared by the linear protocol and fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from solo_intl.engine.fit import fit
from solo_intl.engine.resume import nothing_left, resume_checkpoint


def fit_labelled(
    trainer: Trainer,
    model: LightningModule,
    data: tuple[Any, Any],
    folder: Path,
    cfg: DictConfig,
    *,
    command: str,
    drop_last: bool,
) -> dict[str, float | None]:
    """Train; top-1, top-5 (in percent) and loss on the validation split after the last epoch.

    Top-5 is None where there are five classes or fewer.

    Args:
        trainer: where to run.
        model: what to train; it logs ``val_acc1``, ``val_acc5`` and ``val_loss``.
        data: training and validation images.
        folder: the planned run folder.
        cfg: the configuration with base learning rates, as the run folder keeps it.
        command: whose earlier run may be resumed.
        drop_last: leave out the last, incomplete batch of an epoch.
    """
    batch, workers = int(cfg.optimizer.batch_size), int(cfg.data.num_workers)

    def loader(dataset: Any, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch,
            shuffle,
            num_workers=workers,
            drop_last=shuffle and drop_last,
            persistent_workers=workers > 0,
        )

    train, val = loader(data[0], True), loader(data[1], False)
    resume = resume_checkpoint(cfg, command)
    if not fit(trainer, model, train, val, folder, cfg, resume):
        raise nothing_left(resume)
    final = trainer.callback_metrics
    return {
        "top1": float(final["val_acc1"]),
        "top5": float(final["val_acc5"]) if cfg.data.num_classes > 5 else None,
        "loss": float(final["val_loss"]),
    }
