"""HEAD's interface on top of solo-learn 1.0.2: keyword arguments, old names and removed calls translated."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F
from torchvision import models

from solo_intl.errors import UserError
from solo_intl.host.barlow import MendBarlow
from solo_intl.host.knn import mended_knn
from solo_intl.host.legacy_arguments import keyword_arguments, own_arguments
from solo_intl.host.legacy_views import FullTransformPipeline, NCropAugmentation, build_view
from solo_intl.host.mixin import HostMixin, LinearMixin
from solo_intl.host.standins import legacy_imports
from solo_intl.host.stem import CIFAR_DATASETS

with legacy_imports():
    import solo.methods as solo_methods
    from solo.methods import base as solo_base
    from solo.methods.barlow_twins import BarlowTwins as SoloBarlowTwins
    from solo.methods.dino import DINO as SoloDINO
    from solo.methods.linear import LinearModel as SoloLinearModel
    from solo.methods.wmse import WMSE as SoloWMSE
    from solo.utils import backbones as solo_backbones
    from solo.utils.knn import WeightedKNNClassifier
    from solo.utils.metrics import accuracy_at_k
    from solo.utils.whitening import Whitening2d

BACKBONES: tuple[str, ...] = tuple(solo_base.BaseMethod._SUPPORTED_ENCODERS)
SOLO_METHODS: dict[str, type] = solo_methods.METHODS
SMALL_VIEW_METHODS = ("byol", "simclr")

__all__ = [
    "BACKBONES",
    "SMALL_VIEW_METHODS",
    "SOLO_METHODS",
    "BaseMethod",
    "BaseMomentumMethod",
    "FullTransformPipeline",
    "LinearModel",
    "NCropAugmentation",
    "adapt",
    "build_view",
    "method_keys",
    "new_network",
]

_RENAMED = {"encoder": "backbone", "momentum_encoder": "momentum_backbone"}


class LegacyFace:
    """Translates one 1.0.2 class: ``cfg`` in, HEAD's attribute names out, Lightning 2's hooks served."""

    validation_epoch_end = None  # Lightning 2 refuses a module on which this is callable
    validation_step_outputs: list[Any]
    last_step = 0

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(**keyword_arguments(cfg, type(self)))
        self.validation_step_outputs = []

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(_RENAMED.get(name, name), value)

    @property
    def encoder(self) -> nn.Module:
        return self.backbone

    @property
    def momentum_encoder(self) -> nn.Module:
        return self.momentum_backbone

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        outputs = super().validation_step(batch, batch_idx)
        self.validation_step_outputs.append(outputs)
        return None

    def on_validation_epoch_end(self) -> None:
        super().validation_epoch_end(self.validation_step_outputs)
        self.validation_step_outputs.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Momentum update as on HEAD: per optimizer step, the schedule over the trainer's own step count."""
        if not hasattr(self, "momentum_updater"):
            return
        step = self.trainer.global_step
        if step > self.last_step:
            for online, momentum in self.momentum_pairs:
                self.momentum_updater.update(online, momentum)
            self.log("tau", self.momentum_updater.cur_tau)
            total = self.trainer.estimated_stepping_batches
            self.momentum_updater.update_tau(cur_step=step, max_steps=total)
        self.last_step = step


class _HeadSteps(LegacyFace):
    """HEAD's template methods, for classes written against HEAD's interface."""

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        return cfg

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(self.add_and_assert_specific_cfg(cfg))

    def forward(self, X: torch.Tensor) -> dict[str, Any]:
        return self.base_forward(self.channels_last(X))

    def multicrop_forward(self, X: torch.Tensor) -> dict[str, Any]:
        return {"feats": self.backbone(self.channels_last(X))}

    def base_training_step(self, X: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
        return self._base_shared_step(X, targets)

    def _base_shared_step(self, X: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
        out = self(X)
        logits = out["logits"]
        acc1, acc5 = accuracy_at_k(logits, targets, top_k=(1, min(5, logits.size(1))))
        loss = F.cross_entropy(logits, targets, ignore_index=-1)
        return {**out, "loss": loss, "acc1": acc1, "acc5": acc5}

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        _, views, targets = batch
        views = [views] if isinstance(views, torch.Tensor) else views
        if len(views) != self.num_crops:
            raise UserError(f"augmentations: the batch holds {len(views)} views, the method {self.num_crops}")
        large = self.num_large_crops
        per_view = [self.base_training_step(view, targets) for view in views[:large]]
        outs: dict[str, Any] = {key: [out[key] for out in per_view] for key in per_view[0]}
        for small in [self.multicrop_forward(view) for view in views[large:]]:
            for key, value in small.items():
                outs[key] = [*outs.get(key, []), value]
        for key in ("loss", "acc1", "acc5"):
            outs[key] = sum(outs[key]) / large
        metrics = {
            "train_class_loss": outs["loss"],
            "train_acc1": outs["acc1"],
            "train_acc5": outs["acc5"],
        }
        self.log_dict(metrics, on_epoch=True, sync_dist=True)
        if self.knn_eval:
            labels = targets.repeat(large)
            known = labels != -1
            self.knn(
                train_features=torch.cat(outs["feats"][:large])[known].detach(), train_targets=labels[known]
            )
        return outs


class BaseMethod(HostMixin, _HeadSteps, solo_base.BaseMethod):
    """HEAD's ``BaseMethod(cfg)``."""

    _knn_class = mended_knn(WeightedKNNClassifier)


class BaseMomentumMethod(HostMixin, _HeadSteps, solo_base.BaseMomentumMethod):
    """HEAD's ``BaseMomentumMethod(cfg)``; ``momentum_forward`` is what a subclass extends."""

    _knn_class = BaseMethod._knn_class

    @torch.no_grad()
    def momentum_forward(self, X: torch.Tensor) -> dict[str, Any]:
        return {"feats": self.momentum_backbone(self.channels_last(X))}

    def base_momentum_forward(self, X: torch.Tensor) -> dict[str, Any]:
        return self.momentum_forward(X)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        outs = _HeadSteps.training_step(self, batch, batch_idx)
        views = [batch[1]] if isinstance(batch[1], torch.Tensor) else batch[1]
        per_view = [self._shared_step_momentum(view, batch[2]) for view in views[: self.num_large_crops]]
        for key in per_view[0]:
            outs[f"momentum_{key}"] = [out[key] for out in per_view]
        if self.momentum_classifier is not None:
            for key in ("momentum_loss", "momentum_acc1", "momentum_acc5"):
                outs[key] = sum(outs[key]) / self.num_large_crops
            outs["loss"] = outs["loss"] + outs["momentum_loss"]
        return outs


class _MendedWhitening(Whitening2d):
    """W-MSE's Cholesky whitening through torch.linalg, in place of calls that torch removed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            centred = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            centred = centred - centred.mean(dim=0)
            eye = torch.eye(self.output_dim, dtype=centred.dtype, device=centred.device)
            covariance = centred.T @ centred / (centred.shape[0] - 1)
            factor = torch.linalg.cholesky((1 - self.eps) * covariance + self.eps * eye)
            return torch.linalg.solve_triangular(factor, centred.T, upper=False).T


class _MendWMSE:
    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        solo_whitening = self.whitening
        self.whitening = _MendedWhitening(solo_whitening.output_dim, eps=solo_whitening.eps)


class _MendDINO:
    def clip_gradients(self, *args: Any, **kwargs: Any) -> None:
        """1.0.2 gave its own clipping the name of a Lightning hook that is called with an optimizer."""
        if len(args) == 1 and not kwargs:
            SoloDINO.clip_gradients(self, args[0])
        else:
            LightningModule.clip_gradients(self, *args, **kwargs)


_MENDS: dict[type, type] = {SoloWMSE: _MendWMSE, SoloDINO: _MendDINO, SoloBarlowTwins: MendBarlow}


def adapt(method: type) -> type:
    """A bundled method that takes HEAD's ``cfg``."""
    mends = (_MENDS[method],) if method in _MENDS else ()
    bases = (*mends, HostMixin, LegacyFace, method)
    return type(method.__name__, bases, {"_knn_class": BaseMethod._knn_class})


class LinearModel(LinearMixin, SoloLinearModel):
    """HEAD's ``LinearModel(backbone, cfg)``."""

    validation_epoch_end = None

    def __init__(self, backbone: nn.Module, cfg: DictConfig) -> None:
        # the host configures optimizer and schedule; these arguments only have to be accepted
        super().__init__(
            backbone=backbone,
            num_classes=cfg.data.num_classes,
            max_epochs=cfg.max_epochs,
            batch_size=cfg.optimizer.batch_size,
            optimizer="sgd",
            lars=False,
            lr=cfg.optimizer.lr,
            weight_decay=cfg.optimizer.weight_decay,
            exclude_bias_n_norm=False,
            extra_optimizer_args={},
            scheduler="none",
        )
        self.cfg = cfg
        self.validation_step_outputs: list[Any] = []

    def shared_step(self, batch: Any, batch_idx: int) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.measure(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step_outputs.append(super().validation_step(batch, batch_idx))

    def on_validation_epoch_end(self) -> None:
        super().validation_epoch_end(self.validation_step_outputs)
        self.validation_step_outputs.clear()


def new_network(name: str, method: str, kwargs: dict[str, Any], dataset: str) -> nn.Module:
    """An untrained backbone without its classifier."""
    if name.startswith("swin") and dataset in CIFAR_DATASETS:
        kwargs = {**kwargs, "window_size": 4}  # as 1.0.2's own base class does
    if name.startswith("resnet"):
        network = getattr(models, name)(**kwargs)
        network.fc = nn.Identity()
        return network
    return getattr(solo_backbones, name)(**kwargs)


def method_keys(method: type) -> set[str]:
    """The ``method_kwargs`` keys a bundled method accepts: its own arguments, not its base classes'."""
    base = set(own_arguments(solo_base.BaseMomentumMethod))
    return set(own_arguments(method)) - base
