"""What is fixed about each data set: its classes, native size and channel statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solo_intl.errors import not_accepted

Triple = tuple[float, float, float]

_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
_IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set that hold wherever its files are.

    Attributes:
        name: value of ``data.dataset``.
        num_classes: number of classes, None when it depends on the user's files.
        image_size: side of the images as stored, in pixels, None when it varies.
        mean: per-channel mean of the training split, RGB in [0, 1].
        std: per-channel standard deviation, same scale.
        mirrored: whether an image that is mirrored keeps its class.
    """

    name: str
    num_classes: int | None
    image_size: int | None
    mean: Triple
    std: Triple
    mirrored: bool = True


def _grey(value: float) -> Triple:
    return (value, value, value)


# digits and fashion_mnist: measured over the pixels of their training splits (tests/data recompute them).
DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("digits", 10, 8, _grey(0.3054), _grey(0.3760), mirrored=False),
        DatasetInfo("fashion_mnist", 10, 28, _grey(0.2860), _grey(0.3530)),
        DatasetInfo("cifar10", 10, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        DatasetInfo("cifar100", 100, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
        DatasetInfo("imagenet", 1000, None, _IMAGENET_MEAN, _IMAGENET_STD),
        DatasetInfo("imagenet100", 100, None, _IMAGENET_MEAN, _IMAGENET_STD),
        DatasetInfo("custom", None, None, _IMAGENET_MEAN, _IMAGENET_STD),
    )
}

#: Data sets that are read from the user's own class folders or HDF5 files.
FOLDER_DATASETS = ("imagenet", "imagenet100", "custom")


def dataset_info(name: Any) -> DatasetInfo:
    """Look a data set up by the value of ``data.dataset``.

    Raises:
        UserError: unknown name, or None.

    Example:
        >>> dataset_info("cifar100").num_classes
        100
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise not_accepted("data.dataset", name, DATASETS)
    return DATASETS[name]
