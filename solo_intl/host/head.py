"""HEAD's own interface, with what it breaks on a current stack mended by subclassing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from solo_intl.host.barlow import MendBarlow
from solo_intl.host.knn import mended_knn
from solo_intl.host.mixin import HostMixin, LinearMixin, plain
from solo_intl.host.standins import quiet_imports

with quiet_imports():
    import solo.methods as solo_methods
    from solo.data import pretrain_dataloader as solo_views
    from solo.methods import base as solo_base
    from solo.methods.barlow_twins import BarlowTwins as SoloBarlowTwins
    from solo.methods.linear import LinearModel as SoloLinearModel
    from solo.utils.knn import WeightedKNNClassifier

FullTransformPipeline = solo_views.FullTransformPipeline
NCropAugmentation = solo_views.NCropAugmentation
BACKBONES: tuple[str, ...] = tuple(solo_base.BaseMethod._BACKBONES)
SOLO_METHODS: dict[str, type] = solo_methods.METHODS
SMALL_VIEW_METHODS = ("byol", "simclr", "supcon", "swav")


class BaseMethod(HostMixin, solo_base.BaseMethod):
    """HEAD's ``BaseMethod(cfg)``."""

    _knn_class = mended_knn(WeightedKNNClassifier)


class BaseMomentumMethod(HostMixin, solo_base.BaseMomentumMethod):
    """HEAD's ``BaseMomentumMethod(cfg)``."""

    _knn_class = BaseMethod._knn_class


class LinearModel(LinearMixin, SoloLinearModel):
    """HEAD's ``LinearModel(backbone, cfg)``."""

    def __init__(self, backbone: nn.Module, cfg: DictConfig) -> None:
        super().__init__(backbone, cfg)
        self.cfg = cfg

    def shared_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return dict(zip(("batch_size", "loss", "acc1", "acc5"), self.measure(batch), strict=True))


def adapt(method: type) -> type:
    """A bundled method with the host's mends."""
    mends = (MendBarlow,) if method is SoloBarlowTwins else ()
    return type(method.__name__, (*mends, HostMixin, method), {"_knn_class": BaseMethod._knn_class})


def new_network(name: str, method: str, kwargs: dict[str, Any], dataset: str) -> nn.Module:
    """An untrained backbone without its classifier."""
    network = solo_base.BaseMethod._BACKBONES[name](method, **kwargs)
    if name.startswith("resnet"):
        network.fc = nn.Identity()
    return network


def build_view(view: DictConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable:
    """The transform of one augmentation entry."""
    entry = OmegaConf.create({**plain(view), "mean": list(mean), "std": list(std)})
    # "custom" makes solo-learn take mean and std from the entry instead of its own table
    return solo_views.build_transform_pipeline("custom", entry)


def method_keys(method: type) -> set[str]:
    """The ``method_kwargs`` keys a bundled method reads; HEAD declares them nowhere but in its code."""
    return set(re.findall(r"method_kwargs\.(\w+)", inspect.getsource(inspect.getmodule(method))))
