"""The small-image stem and the networks' construction, the same for every method and both generations."""

from __future__ import annotations

from typing import Any

from torch import nn

from solo_intl.errors import UserError

SMALL_IMAGE = 64  # px; at or below it a stride-2 7x7 convolution plus max-pool throws most of the image away
STEMS = ("auto", "cifar", "imagenet")
CIFAR_DATASETS = ("cifar10", "cifar100")


def stem_kind(backbone: dict[str, Any], dataset: str | None, image_size: int | None) -> str:
    """Resolve ``backbone.stem``: "cifar" (3x3, no max-pool) or "imagenet" (7x7 stride 2, max-pool).

    Raises:
        UserError: ``backbone.stem`` is not one of auto, cifar, imagenet.

    Example:
        >>> stem_kind({}, "custom", 48), stem_kind({}, "custom", 224)
        ('cifar', 'imagenet')
    """
    stem = backbone.get("stem") or "auto"
    if stem not in STEMS:
        raise UserError(f"backbone.stem: found '{stem}', accepted: {', '.join(STEMS)}")
    if stem != "auto":
        return stem
    small = image_size <= SMALL_IMAGE if image_size else dataset in CIFAR_DATASETS
    return "cifar" if small else "imagenet"


def stem_stride(backbone: dict[str, Any]) -> int:
    """``backbone.stem_stride`` (default 1): stride of the small-image stem; 2 costs a quarter of 1."""
    stride = backbone.get("stem_stride") or 1
    if stride not in (1, 2):
        raise UserError(f"backbone.stem_stride: found {stride!r}, accepted: 1, 2")
    return int(stride)


def install_stem(network: nn.Module, kind: str, stride: int = 1) -> bool:
    """Give a torchvision-style ResNet the stem; True if a layer was replaced.

    Networks without ``conv1`` and ``maxpool`` (ViT, Swin ...) are left alone. At stride 1 the convolution is
    solo-learn's (padding 2, so 32 px become 34); at stride 2 padding 1 halves the image exactly.
    """
    conv = getattr(network, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not hasattr(network, "maxpool"):
        return False
    if kind == "cifar":
        kernel, steps, padding, pool = 3, stride, 2 if stride == 1 else 1, None
    else:
        kernel, steps, padding, pool = 7, 2, 3, (3, 2, 1)
    pooled = isinstance(network.maxpool, nn.MaxPool2d)
    if (
        conv.kernel_size == (kernel, kernel)
        and conv.stride == (steps, steps)
        and pooled == (pool is not None)
    ):
        return False
    network.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, steps, padding, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.MaxPool2d(*pool) if pool else nn.Identity()
    return True


def feature_size(network: nn.Module) -> int:
    """Width of a backbone's output."""
    size = network.inplanes if hasattr(network, "inplanes") else network.num_features
    return int(size)  # type: ignore[arg-type]
