"""Pre-training, from a checked configuration to a finished run folder."""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError
from torch.utils.data import DataLoader

from solo_intl import host
from solo_intl.config import pretrain_settings, scale_learning_rate
from solo_intl.config.baselines import check_batch
from solo_intl.config.settings import count_labels
from solo_intl.data import ImageDataset, WithIndex, dataset_info, eval_transform, normalization, open_split
from solo_intl.data.batched import BatchedViews, MemoryImages, as_is
from solo_intl.engine.clock import MEASURED_STEPS, SKIPPED_STEPS, Clock
from solo_intl.engine.fit import fit
from solo_intl.engine.monitor import SpectrumMonitor
from solo_intl.engine.resume import last_metrics, resume_checkpoint, unclosed_folder
from solo_intl.engine.run_folder import plan_run_folder, write_json
from solo_intl.engine.trainer import LAST, build_trainer
from solo_intl.engine.views import FirstViews
from solo_intl.errors import UserError


@dataclass
class Pretraining:
    """Everything a run needs, built and checked before anything is written."""

    cfg: DictConfig  # learning rates scaled, as the method reads them
    base_cfg: DictConfig  # learning rates as stated, so that config.yaml can be run again
    clock: Clock
    monitor: SpectrumMonitor | None
    model: LightningModule
    trainer: Trainer
    train: DataLoader[Any]
    val: DataLoader[Any] | None
    folder: Path | None

    @property
    def batches(self) -> int:
        """Batches a process sees in one epoch."""
        per_process = len(self.train.dataset) // self.trainer.world_size  # type: ignore[arg-type]
        return per_process // int(self.cfg.optimizer.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; the last of an epoch may accumulate fewer batches."""
        return math.ceil(self.batches / self.cfg.accumulate_grad_batches) * int(self.cfg.max_epochs)


def _loader(dataset: Any, cfg: DictConfig, *, train: bool) -> DataLoader[Any]:
    in_memory = isinstance(dataset, MemoryImages)
    # a row lookup takes less time than handing its result from one process to another
    workers = 0 if in_memory else int(cfg.data.num_workers)
    return DataLoader(
        dataset,
        batch_size=cfg.optimizer.batch_size,
        shuffle=train,
        drop_last=train,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=as_is if in_memory else None,
    )


def _validation(cfg: DictConfig, mean: Any, std: Any) -> ImageDataset | None:
    separate = dataset_info(cfg.data.dataset).image_size is None
    if cfg.data.no_labels or (separate and cfg.data.val_path is None):
        return None
    return open_split(cfg.data, "val", eval_transform(cfg.image_size, mean, std))


def _monitor(cfg: DictConfig, folder: Path | None) -> SpectrumMonitor | None:
    if folder is None or not cfg.monitor.every_n_steps:
        return None
    whitening = {key: cfg.method_kwargs[key] for key in ("iterations", "axis") if key in cfg.method_kwargs}
    is_intl = cfg.method.startswith("intl")  # another method's `iterations` would mean something else
    return SpectrumMonitor(int(cfg.monitor.every_n_steps), folder, **(whitening if is_intl else {}))


def prepare(cfg: DictConfig) -> Pretraining:
    """Build data, model and Trainer for a composed configuration.

    Raises:
        UserError: any mistake in the configuration or the data.
    """
    cfg = pretrain_settings(cfg)
    if cfg.data.format == "dali":
        raise UserError(
            "data.format: found 'dali', accepted here: image_folder, h5 (nvidia-dali is not used)"
        )
    mean, std = normalization(cfg.data, cfg.augmentations)
    batched = cfg.data.augment == "batched"
    views: Any = (
        BatchedViews(host.plain(cfg.augmentations), mean, std, cfg.seed)
        if batched
        else host.build_views(list(cfg.augmentations), mean, std)
    )
    if cfg.get("debug_augmentations"):
        print(f"Transforms:\n{views}")
    train = open_split(cfg.data, "train", None if batched else views)
    count_labels(cfg, unlabelled=not train.has_labels)
    val = _validation(cfg, mean, std)
    if cfg.knn_eval.enabled and val is None:
        raise UserError(
            "knn_eval.enabled: found true, but there are no labelled validation images; accepted: false"
        )

    folder = None if cfg.get("dry_run") else plan_run_folder(cfg.checkpoint.dir, "pretrain", cfg.name)
    dry = {"max_epochs": 1, "limit_train_batches": MEASURED_STEPS + SKIPPED_STEPS, "limit_val_batches": 0}
    clock = Clock(measure=folder is None)
    trainer_cfg = cfg.copy()
    if folder is None:
        trainer_cfg.update({**dry, "enable_progress_bar": False})
    monitor = _monitor(cfg, folder)
    looks = [FirstViews(folder, mean, std)] if folder else []
    trainer = build_trainer(trainer_cfg, folder, [clock, *looks, *([monitor] if monitor else [])])
    base_cfg = cfg.copy()
    scale_learning_rate(cfg, trainer.world_size)
    if len(train) < cfg.optimizer.batch_size * trainer.world_size:
        raise UserError(
            f"optimizer.batch_size: found {cfg.optimizer.batch_size} on {trainer.world_size} devices, "
            f"but the training split has {len(train)} images; accepted: at most "
            f"{len(train) // trainer.world_size}"
        )
    check_batch(cfg, trainer.world_size, len(train))
    train_images = MemoryImages(train) if batched else WithIndex(train)
    seed_everything(cfg.seed, workers=True, verbose=False)
    try:
        model = host.METHODS[cfg.method](cfg)
    except ConfigAttributeError as error:
        raise UserError(f"{error.full_key}: missing, accepted: a value, {cfg.method} needs one") from None
    except (TypeError, AssertionError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(f"{cfg.method}: solo-learn refuses the configuration: {error!r}") from None
    if not cfg.performance.disable_channel_last:
        model = model.to(memory_format=torch.channels_last)
    if batched:
        model.make_views = views
    loaders = _loader(train_images, cfg, train=True), val and _loader(val, cfg, train=False)
    return Pretraining(cfg, base_cfg, clock, monitor, model, trainer, loaders[0], loaders[1] or None, folder)


def peak_memory_gib() -> float:
    """Peak memory so far in GiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def pretrain(cfg: DictConfig) -> tuple[Path, dict[str, Any]]:
    """Train and return the run folder with its final figures (percentages, seconds, images per second).

    A run that was killed after its last checkpoint and before its final figures gets them, in its own folder.

    Raises:
        UserError: any mistake in the configuration or the data; nothing is left to train.
    """
    run = prepare(cfg)
    if run.folder is None:
        raise UserError("dry_run: found true, accepted here: false")
    resume = resume_checkpoint(run.base_cfg, "pretrain")
    started = time.perf_counter()
    folder, batches = run.folder, run.steps * run.cfg.accumulate_grad_batches
    peak = None  # known to the process that trained
    if fit(run.trainer, run.model, run.train, run.val, folder, run.base_cfg, resume):
        seconds, batches = time.perf_counter() - started, run.clock.batches
        peak = round(peak_memory_gib(), 2)
        metrics = {name: float(value) for name, value in run.trainer.callback_metrics.items()}
    else:
        folder = unclosed_folder(resume)
        metrics = last_metrics(folder)
        seconds = run.clock.before
    images = batches * run.cfg.optimizer.batch_size * run.trainer.world_size
    final = {
        "command": "pretrain",
        "method": run.cfg.method,
        "dataset": run.cfg.data.dataset,
        "seed": run.cfg.seed,
        "epochs": run.trainer.current_epoch,
        "steps": run.trainer.global_step,
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds, 1),
        "peak_memory_gib": peak,
        "precision": run.trainer.precision,
        "checkpoint": f"checkpoints/{LAST}.ckpt" if run.cfg.checkpoint.enabled else None,
        "metrics": metrics,
    }
    if run.monitor and (run.monitor.found or run.monitor.warned):
        final["spectrum"] = run.monitor.summary()
    if run.trainer.is_global_zero:
        write_json(folder / "metrics.json", final)
    return folder, final
