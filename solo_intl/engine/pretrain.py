"""Pre-training, from a checked configuration to a finished run folder."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError
from torch.utils.data import DataLoader

from solo_intl import host
from solo_intl.config import pretrain_settings, scale_learning_rate
from solo_intl.config.baselines import check_batch
from solo_intl.config.settings import count_labels
from solo_intl.data import ImageDataset, WithIndex, eval_transform, normalization, open_split
from solo_intl.data.batched import BatchedViews, MemoryImages, as_is
from solo_intl.engine.fit import fit
from solo_intl.engine.monitor import SpectrumMonitor
from solo_intl.engine.resume import resume_checkpoint
from solo_intl.engine.run_folder import plan_run_folder, write_json
from solo_intl.engine.trainer import LAST, build_trainer
from solo_intl.engine.views import FirstViews
from solo_intl.errors import UserError

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
    separate = cfg.data.dataset in ("custom", "imagenet", "imagenet100")
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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def pretrain(cfg: DictConfig) -> tuple[Path, dict[str, Any]]:
    """Train and return the run folder with its final figures (percentages, seconds, images per second)."""
    run = prepare(cfg)
    if run.folder is None:
        raise UserError("dry_run: found true, accepted here: false")
    resume = resume_checkpoint(run.base_cfg, "pretrain")
    started = time.perf_counter()
    fit(run.trainer, run.model, run.train, run.val, run.folder, run.base_cfg, resume)
    seconds = time.perf_counter() - started
    metrics = {name: float(value) for name, value in run.trainer.callback_metrics.items()}
    images = run.clock.batches * run.cfg.optimizer.batch_size * run.trainer.world_size
    final = {
        "command": "pretrain",
        "method": run.cfg.method,
        "dataset": run.cfg.data.dataset,
        "seed": run.cfg.seed,
        "epochs": run.trainer.current_epoch,
        "steps": run.trainer.global_step,
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds, 1),
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "precision": run.trainer.precision,
        "checkpoint": f"checkpoints/{LAST}.ckpt" if run.cfg.checkpoint.enabled else None,
        "metrics": metrics,
    }
    if run.monitor and run.monitor.found:
        final["spectrum"] = {**run.monitor.found[-1].measures, "seconds": round(run.monitor.seconds, 3)}
    if run.trainer.is_global_zero:
        write_json(run.folder / "metrics.json", final)
    return run.folder, final


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
        validation = len(run.val) * run.clock.median / (3 * views)  # no backward pass, and one view
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
