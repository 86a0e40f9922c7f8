"""Lightning's Trainer from HEAD's configuration."""

from __future__ import annotations

import inspect
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.engine.precision import resolve_precision, uses_gpu
from solo_intl.errors import UserError

OBJECTIVES = ("_loss_epoch", "_neg_cos_sim_epoch")  # what solo-learn's methods call what they minimise
LAST = "last"  # checkpoints/last.ckpt, overwritten at every save unless checkpoint.keep_prev


class Checkpoints(ModelCheckpoint):
    """Saves every ``checkpoint.frequency`` epochs and always at the last one, max_time's too."""

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop:
            self._every_n_epochs = 1
        super().on_train_epoch_end(trainer, module)


class EpochLines(Callback):
    """One line an epoch where a progress bar cannot be drawn (a log file, a pipe)."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.perf_counter()  # a run resumed inside an epoch does not start that epoch

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        losses = [key for key in metrics if key.endswith(OBJECTIVES) and "class_loss" not in key]
        wanted = (*losses, "train_trace_excess_epoch", "val_acc1")
        shown = [f"{k.removesuffix('_epoch')} {float(metrics[k]):.4g}" for k in wanted if k in metrics]
        seconds = time.perf_counter() - self.started
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {'  '.join(shown)}  {seconds:.1f} s",
            flush=True,
        )


def quiet_lightning() -> None:
    """Silence notices that a user can do nothing about; everything else stays."""
    for message in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches .* is smaller than the logging interval.*",
        ".*pin_memory.*",
        ".*lr_scheduler.step\\(\\)` before `optimizer.step.*",
        ".*MPS available but not used.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*defined a `validation_step` but have no `val_dataloader`.*",
        ".*LeafSpec.*",
        ".*The dirpath has changed from.*",  # a run that goes on has a folder of its own
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().addFilter(_not_about_interval)


def _not_about_interval(record: logging.LogRecord) -> bool:
    """HEAD warns through the root logger about the very scheduler.interval it defaults to."""
    return "scheduler_interval" not in record.getMessage()


def _devices(cfg: DictConfig) -> Any:
    devices = host.plain(cfg.devices)
    if uses_gpu(cfg.accelerator):
        return devices
    # Lightning's CPU accelerator counts processes and refuses the list form that names GPUs
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdigit() else devices


def _strategy(cfg: DictConfig) -> Any:
    strategy = cfg.get("strategy") or "auto"
    if cfg.get("method") == "intl_ema" and str(strategy).startswith("fsdp"):
        raise UserError(
            f"strategy: found {strategy!r}, accepted by intl_ema: auto, ddp (FSDP may lose what changes the "
            "momentum network inside a step)"
        )
    return DDPStrategy(find_unused_parameters=False) if strategy == "ddp" else strategy


def _loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(str(folder), name="", version="")]
    try:
        if cfg.tensorboard.enabled:
            loggers.append(TensorBoardLogger(str(folder), name="", version="tensorboard"))
        if cfg.wandb.enabled:
            wandb = host.plain(cfg.wandb)
            loggers.append(
                WandbLogger(
                    name=cfg.name,
                    project=wandb.get("project") or "solo-intl",
                    entity=wandb.get("entity"),
                    offline=bool(wandb.get("offline", False)),
                    save_dir=str(folder),
                    config=OmegaConf.to_container(cfg, resolve=True),
                )
            )
    except ModuleNotFoundError as error:
        package = "wandb" if "wandb" in str(error) else "tensorboard"
        raise UserError(
            f"{package}.enabled: found true, but it is not installed: pip install {package}"
        ) from None
    return loggers


def build_trainer(cfg: DictConfig, folder: Path | None, callbacks: list[Callback] | None = None) -> Trainer:
    """The Trainer; with a run folder it logs and saves there, without one it leaves no trace.

    Raises:
        UserError: Lightning refuses a setting.
    """
    quiet_lightning()
    valid = set(inspect.signature(Trainer.__init__).parameters)
    settings = {key: value for key, value in host.plain(cfg).items() if key in valid}
    gpu = uses_gpu(cfg.accelerator)
    extra: list[Callback] = list(callbacks or [])
    if folder is not None:
        extra.append(LearningRateMonitor(logging_interval="step"))
        if cfg.checkpoint.enabled:
            keep = bool(cfg.checkpoint.keep_prev)
            extra.append(
                Checkpoints(
                    dirpath=folder / "checkpoints",
                    filename="epoch={epoch}" if keep else LAST,
                    auto_insert_metric_name=False,
                    save_top_k=-1 if keep else 1,
                    save_last=keep,
                    every_n_epochs=cfg.checkpoint.frequency,
                    enable_version_counter=False,
                    save_on_train_epoch_end=True,
                )
            )
        if settings.get("enable_progress_bar", True):
            extra.append(RichProgressBar() if sys.stdout.isatty() else EpochLines())
            settings["enable_progress_bar"] = sys.stdout.isatty()
    settings.update(
        devices=_devices(cfg),
        strategy=_strategy(cfg),
        precision=resolve_precision(cfg.precision, cfg.accelerator),
        # SyncBatchNorm has no CPU implementation
        sync_batchnorm=bool(cfg.get("sync_batchnorm", False)) and gpu,
        callbacks=extra,
        logger=_loggers(cfg, folder) if folder is not None else False,
        enable_checkpointing=folder is not None and bool(cfg.checkpoint.enabled),
        enable_model_summary=False,
    )
    settings.setdefault("log_every_n_steps", 10)
    try:
        trainer = Trainer(**settings)
    except Exception as error:  # Lightning raises several kinds for settings it refuses
        raise UserError(f"trainer: {' '.join(str(error).split())}") from None
    if trainer.world_size > 1 and cfg.get("sync_batchnorm") and not gpu:
        rank_zero_warn("sync_batchnorm: needs GPUs; every process normalises its own part of the batch")
    return trainer
