"""What every method gets on either generation, placed before solo-learn's own class in the MRO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from torch import nn

from solo_intl.host.convolution import install_products
from solo_intl.host.optim import OptimSettings, make_optimizer, make_schedule
from solo_intl.host.resume import ResumeMixin
from solo_intl.host.stem import install_stem, stem_kind, stem_stride

CHECKPOINT_KEY = "solo_intl"


def plain(node: Any) -> Any:
    """A DictConfig or ListConfig as plain Python containers."""
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node


def image_size(cfg: DictConfig) -> int | None:
    """Side of the first (large) view in pixels, where the config says so."""
    size = cfg.get("image_size")
    if size is None and cfg.get("augmentations"):
        size = cfg.augmentations[0].crop_size
    return int(size) if size is not None else None


@contextmanager
def disabled_knn(cfg: DictConfig) -> Iterator[dict[str, Any]]:
    """Hide ``knn_eval`` from solo-learn, whose own metric cannot be constructed, and hand it over."""
    settings = plain(cfg.get("knn_eval")) or {}
    with open_dict(cfg):
        cfg.knn_eval = {**settings, "enabled": False}
        yield settings
        cfg.knn_eval = settings


def settings_from(cfg: DictConfig) -> OptimSettings:
    """HEAD's optimizer and scheduler keys with HEAD's defaults."""
    optimizer, scheduler = plain(cfg.optimizer), plain(cfg.scheduler)
    accumulated = cfg.get("accumulate_grad_batches") or 1
    start = scheduler.get("warmup_start_lr")
    return OptimSettings(
        name=optimizer["name"],
        lr=optimizer["lr"] * accumulated,
        weight_decay=optimizer.get("weight_decay", 0.0),
        kwargs=optimizer.get("kwargs") or {},
        exclude_bias_n_norm_wd=bool(optimizer.get("exclude_bias_n_norm_wd", False)),
        scheduler=scheduler["name"],
        interval=scheduler.get("interval") or "step",
        min_lr=(scheduler.get("min_lr") or 0.0) * accumulated,
        warmup_start_lr=(3e-5 if start is None else start) * accumulated,
        warmup_epochs=scheduler.get("warmup_epochs", OptimSettings.warmup_epochs),
        lr_decay_steps=scheduler.get("lr_decay_steps"),
    )


def warmup_epochs(cfg: DictConfig) -> float:
    """Epochs over which the learning rate rises; 0 where the schedule is none that begins so."""
    scheduler = plain(cfg.get("scheduler")) or {}
    if scheduler.get("name", "warmup_cosine") != "warmup_cosine":
        return 0.0
    return float(scheduler.get("warmup_epochs", OptimSettings.warmup_epochs))


def optimizer_with_schedule(module: Any, groups: Iterable[dict[str, Any]]) -> Any:
    """What ``configure_optimizers`` returns for the parameter groups of ``module``, by ``module.cfg``.

    Raises:
        UserError: unknown optimizer, schedule or keyword.
    """
    settings = settings_from(module.cfg)
    optimizer = make_optimizer(groups, settings)
    total = int(module.trainer.estimated_stepping_batches)
    schedule = make_schedule(optimizer, settings, total, module.cfg.max_epochs)
    return optimizer if schedule is None else ([optimizer], [schedule])


class HostMixin(ResumeMixin):
    """Stem, optimizer, schedule, online k-NN and label-free data, written once for both generations."""

    cfg: DictConfig
    _knn_class: type
    # views of a batch of whole images, from (images, batches before this one, rank): data.augment=batched
    make_views: Callable[[torch.Tensor, int, int], list[torch.Tensor]] | None = None

    def __init__(self, cfg: DictConfig) -> None:
        with disabled_knn(cfg) as knn:
            super().__init__(cfg)
        self.unlabelled = bool(OmegaConf.select(cfg, "data.no_labels", default=False))
        self.cfg = cfg
        self._prepare_networks()
        if knn.get("enabled"):
            self.knn_eval = True
            self.knn = self._knn_class(
                k=knn.get("k") or 20, distance_fx=knn.get("distance_func", "euclidean")
            )

    def _prepare_networks(self) -> None:
        backbone = plain(self.cfg.backbone)
        kind = stem_kind(backbone, self.cfg.data.dataset, image_size(self.cfg))
        online: nn.Module = self.backbone
        momentum: nn.Module | None = getattr(self, "momentum_backbone", None)
        replaced = install_stem(online, kind, stem_stride(backbone))
        if replaced and momentum is not None:
            install_stem(momentum, kind, stem_stride(backbone))
            momentum.conv1.weight.data.copy_(online.conv1.weight.data)
            momentum.conv1.weight.requires_grad = False
        for network in (online, momentum):
            if network is not None:
                install_products(network)

    def channels_last(self, X: torch.Tensor) -> torch.Tensor:
        """Images in the layout of the weights."""
        disabled = OmegaConf.select(self.cfg, "performance.disable_channel_last", default=False)
        return X if disabled else X.to(memory_format=torch.channels_last)

    def _base_shared_step(self, X: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
        out = super()._base_shared_step(X, targets)
        if self.unlabelled:
            # cross-entropy over no labels at all is NaN; the zero keeps the classifier in the graph for DDP
            out["loss"] = out["logits"].sum() * 0.0
        return out

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Where the loader gives whole images, their views are made here, on the device."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.make_views is None or not self.trainer.training:
            return batch
        indices, images, targets = batch
        step = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        views = self.make_views(images, step, self.global_rank)
        # Lightning has converted the batch to the precision of a "true" one before it saw these
        return [indices, self.trainer.precision_plugin.convert_input(views), targets]

    def configure_optimizers(self) -> Any:
        return optimizer_with_schedule(self, self.learnable_params)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the resolved config so that evaluation can rebuild the network from the file alone."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY] = {"cfg": plain(self.cfg)}


class LinearMixin:
    """HEAD's ``LinearModel(backbone, cfg)``: our schedules, and top-5 that survives fewer than 5 classes."""

    cfg: DictConfig

    def measure(self, batch: Any) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Batch size, cross-entropy, top-1 and top-5 (top-C below five classes) in percent."""
        X, targets = batch
        logits = self(X)["logits"]
        loss = nn.functional.cross_entropy(logits, targets)
        ranked = logits.topk(min(5, logits.size(1)), dim=1).indices.eq(targets[:, None])
        acc1, acc5 = (100 * ranked[:, :k].any(dim=1).float().mean().view(1) for k in (1, ranked.size(1)))
        return X.size(0), loss, acc1, acc5

    def configure_optimizers(self) -> Any:
        return optimizer_with_schedule(self, [{"params": self.classifier.parameters()}])
