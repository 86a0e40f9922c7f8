"""The only room that imports ``solo``: HEAD's interface, whichever solo-learn is installed.

Importing it finds the installed generation (HEAD preferred) and raises ``HostMissing`` with the install
command when there is none. Everything else in the package speaks HEAD's ``cfg``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig
from torch import nn

from solo_intl.detect import HEAD, LEGACY, HostInfo, HostMissing, find_host, prefer
from solo_intl.errors import UserError
from solo_intl.host.convolution import install_products
from solo_intl.host.mixin import CHECKPOINT_KEY, image_size, optimizer_with_schedule, plain, warmup_epochs
from solo_intl.host.stem import feature_size, install_stem, stem_kind, stem_stride

HOST: HostInfo = find_host()
prefer(HOST)

if HOST.generation == HEAD:
    from solo_intl.host import head as generation
else:
    from solo_intl.host import legacy as generation  # type: ignore[no-redef]

BaseMethod = generation.BaseMethod
BaseMomentumMethod = generation.BaseMomentumMethod
LinearModel = generation.LinearModel
BACKBONES: tuple[str, ...] = generation.BACKBONES
# solo-learn's own registry: `register` puts our classes here, so HEAD's unmodified scripts find them
SOLO_METHODS: dict[str, type] = generation.SOLO_METHODS
METHODS: dict[str, type] = {
    name: generation.adapt(method) for name, method in SOLO_METHODS.items() if name not in ("base", "linear")
}
_BUNDLED = dict(SOLO_METHODS)


def method_keys(name: str) -> set[str]:
    """The ``method_kwargs`` keys that method ``name`` accepts."""
    own = getattr(METHODS[name], "METHOD_KWARGS", None)
    return set(own) if own is not None else generation.method_keys(_BUNDLED[name])


def has_momentum(name: str) -> bool:
    """Whether method ``name`` reads the ``momentum`` section."""
    return hasattr(METHODS[name], "momentum_pairs")


def takes_any_views(name: str) -> bool:
    """Whether the loss of ``name`` takes two or more views of whatever sizes."""
    return getattr(METHODS.get(name), "ANY_VIEWS", False)


def uses_small_views(name: str) -> bool:
    """Whether the loss of ``name`` sees views smaller than the first; other methods ignore them."""
    return takes_any_views(name) or name in generation.SMALL_VIEW_METHODS


class Views:
    """solo-learn's transforms, from a PIL image to a list of tensors.

    A spawned loader worker imports this module first, so that 1.0.2 finds what it needs to be imported.
    """

    def __init__(self, pipeline: Callable[[Any], list[Any]]) -> None:
        self.pipeline = pipeline

    def __call__(self, image: Any) -> list[Any]:
        return self.pipeline(image)

    def __repr__(self) -> str:
        return repr(self.pipeline)


def build_view(
    view: DictConfig, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any], list[Any]]:
    """``num_crops`` draws of one augmentation entry, as a callable from PIL image to a list of tensors."""
    return Views(generation.NCropAugmentation(generation.build_view(view, mean, std), view.num_crops))


def build_views(
    views: list[DictConfig], mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[Any], list[Any]]:
    """All views of one image, in the order of the ``augmentations`` list."""
    pipelines = [build_view(view, mean, std) for view in views]
    return Views(generation.FullTransformPipeline(pipelines))


def build_backbone(cfg: DictConfig) -> tuple[nn.Module, int]:
    """The untrained network that ``cfg`` describes, without classifier, and the width of its output.

    Args:
        cfg: ``backbone`` (name, kwargs, stem, stem_stride), ``method``, ``data.dataset``, and the image
            size as ``image_size`` or through ``augmentations``.

    Raises:
        UserError: this solo-learn has no such backbone, or refuses ``backbone.kwargs``.
    """
    backbone = plain(cfg.backbone)
    name, kwargs = backbone["name"], backbone.get("kwargs") or {}
    if name not in BACKBONES:
        raise UserError(
            f"backbone.name: found '{name}', accepted by {HOST.generation}: {', '.join(BACKBONES)}"
        )
    try:
        network = generation.new_network(name, cfg.get("method") or "intl", kwargs, cfg.data.dataset)
    except TypeError as error:
        raise UserError(f"backbone.kwargs: found {kwargs}; {name} says: {error}") from None
    kind = stem_kind(backbone, cfg.data.dataset, image_size(cfg))
    install_stem(network, kind, stem_stride(backbone))
    install_products(network)
    return network, feature_size(network)


__all__ = [
    "BACKBONES",
    "CHECKPOINT_KEY",
    "HEAD",
    "HOST",
    "LEGACY",
    "METHODS",
    "SOLO_METHODS",
    "BaseMethod",
    "BaseMomentumMethod",
    "HostInfo",
    "HostMissing",
    "LinearModel",
    "Views",
    "build_backbone",
    "build_view",
    "build_views",
    "find_host",
    "has_momentum",
    "image_size",
    "method_keys",
    "optimizer_with_schedule",
    "plain",
    "takes_any_views",
    "uses_small_views",
    "warmup_epochs",
]
