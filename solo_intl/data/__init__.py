"""Data sets, their splits and their transforms.

Everything is opened through :func:`open_split`, from the same ``data`` keys that solo-learn reads.

Example:
    >>> from solo_intl.data import count_classes, open_split
    >>> cfg = {"dataset": "digits"}
    >>> len(open_split(cfg, "train")), len(open_split(cfg, "val")), count_classes(cfg)
    (1437, 360, 10)
"""

from __future__ import annotations

from solo_intl.data.dataset import ImageDataset, ImageReadError, WithIndex
from solo_intl.data.inventory import describe
from solo_intl.data.registry import DATASETS, DatasetInfo, dataset_info
from solo_intl.data.splits import count_classes, open_split
from solo_intl.data.transforms import eval_transform, normalization, train_transform

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "ImageDataset",
    "ImageReadError",
    "WithIndex",
    "count_classes",
    "dataset_info",
    "describe",
    "eval_transform",
    "normalization",
    "open_split",
    "train_transform",
]
