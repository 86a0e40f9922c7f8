"""Evaluation and plain training transforms, and which statistics they normalise with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from solo_intl.data.registry import DATASETS, Triple
from solo_intl.errors import UserError

if TYPE_CHECKING:  # importing torchvision takes seconds: each function does so when it is needed
    from torchvision import transforms

#: Up to this side, in pixels, an image is evaluated whole: there is no margin to crop.
SMALL_IMAGE = 64


def eval_transform(size: int, mean: Sequence[float], std: Sequence[float]) -> transforms.Compose:
    """Deterministic transform to a normalised float tensor [3, size, size].

    Up to 64 px the shorter side is resized to ``size`` (bicubic; nothing happens to an image that has it
    already) and a square is cut from the centre, so a square image is kept whole. Above, ImageNet's protocol:
    the shorter side to ``size * 256 / 224``, then the central ``size``, bilinear as in solo-learn.

    Args:
        size: side of the result in pixels: the training size.
        mean: per-channel mean, RGB in [0, 1].
        std: per-channel standard deviation.

    Example:
        >>> from PIL import Image
        >>> eval_transform(32, (0.5,) * 3, (0.5,) * 3)(Image.new("RGB", (40, 36))).shape
        torch.Size([3, 32, 32])
    """
    from torchvision import transforms

    if size <= SMALL_IMAGE:
        resize = transforms.Resize(size, transforms.InterpolationMode.BICUBIC)
    else:
        resize = transforms.Resize(round(size * 256 / 224))
    return transforms.Compose([resize, transforms.CenterCrop(size), *_to_tensor(mean, std)])


def train_transform(
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    min_scale: float = 0.08,
    flip: bool = True,
) -> transforms.Compose:
    """solo-learn's augmentation for linear evaluation: random resized crop (8 to 100 % of the area) and flip.

    Args:
        size: side of the result in pixels.
        mean: per-channel mean, RGB in [0, 1].
        std: per-channel standard deviation.
        min_scale: smallest share of the image's area that a crop takes.
        flip: whether half of the images are mirrored.

    Returns:
        A transform from a PIL RGB image to a normalised float tensor [3, size, size].

    Example:
        >>> from PIL import Image
        >>> train_transform(32, (0.5,) * 3, (0.5,) * 3)(Image.new("RGB", (40, 36))).shape
        torch.Size([3, 32, 32])
    """
    from torchvision import transforms

    crop = transforms.RandomResizedCrop(size, scale=(min_scale, 1.0))
    flips = [transforms.RandomHorizontalFlip()] if flip else []
    return transforms.Compose([crop, *flips, *_to_tensor(mean, std)])


def normalization(
    data_cfg: Mapping[str, Any], aug_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
) -> tuple[Triple, Triple]:
    """Mean and standard deviation to normalise with, RGB in [0, 1].

    As in solo-learn, ``mean`` and ``std`` of an augmentation count only for the user's own images; a data set
    whose statistics are known keeps them.

    Args:
        data_cfg: its ``dataset`` is read.
        aug_cfg: one augmentation entry, or the list of them (then the first that has the key counts).

    Raises:
        UserError: ``mean`` or ``std`` is not three numbers, or a deviation is not positive.

    Example:
        >>> normalization({"dataset": "cifar10"}, {"mean": [0, 0, 0]})[0]
        (0.4914, 0.4822, 0.4465)
        >>> normalization({"dataset": "custom"}, {"mean": [0.5, 0.5, 0.5]})
        ((0.5, 0.5, 0.5), (0.229, 0.224, 0.225))
    """
    info = DATASETS.get(data_cfg.get("dataset", "custom"), DATASETS["custom"])
    if info.name != "custom" or aug_cfg is None:
        return info.mean, info.std
    entries = [aug_cfg] if isinstance(aug_cfg, Mapping) else list(aug_cfg)
    return _statistic(entries, "mean", info.mean), _statistic(entries, "std", info.std)


def _statistic(entries: Sequence[Mapping[str, Any]], key: str, default: Triple) -> Triple:
    found = next((entry.get(key) for entry in entries if entry.get(key) is not None), None)
    if found is None:
        return default
    try:
        red, green, blue = (float(value) for value in found)
    except (TypeError, ValueError):
        raise UserError(f"augmentations.{key}: found {found!r}, accepted: three numbers") from None
    if key == "std" and min(red, green, blue) <= 0:
        raise UserError(f"augmentations.std: found {found!r}, accepted: three numbers > 0")
    return red, green, blue


def _to_tensor(mean: Sequence[float], std: Sequence[float]) -> list[Any]:
    from torchvision import transforms

    return [transforms.ToTensor(), transforms.Normalize(tuple(mean), tuple(std))]
