"""The ``data`` section of a configuration, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo_intl.data.registry import FOLDER_DATASETS, DatasetInfo, dataset_info
from solo_intl.errors import UserError, not_accepted

DEFAULT_ROOT = "./datasets"
SPLITS = ("train", "val")


@dataclass(frozen=True)
class DataSettings:
    """Checked form of ``data_cfg``; every field mirrors the key of the same name."""

    info: DatasetInfo
    train_path: Path | None
    val_path: Path | None
    format: str
    no_labels: bool
    fraction: float | None
    max_images: int | None
    subset_file: Path | None
    subset_seed: int
    download: bool

    @classmethod
    def parse(cls, data_cfg: Mapping[str, Any]) -> DataSettings:
        """Read solo-learn's ``data`` keys from a dict or DictConfig; missing ones take their defaults.

        Raises:
            UserError: a value that is not accepted, naming its key.

        Example:
            >>> DataSettings.parse({"dataset": "custom", "train_path": "photos"}).format
            'image_folder'
        """
        info = dataset_info(data_cfg.get("dataset"))
        fraction = _fraction(data_cfg.get("fraction"))
        max_images = _max_images(data_cfg.get("max_images"))
        subset_file = _path("subset_file", data_cfg.get("subset_file"))
        _check_one_subset(fraction=fraction, max_images=max_images, subset_file=subset_file)
        return cls(
            info=info,
            train_path=_path("train_path", data_cfg.get("train_path")),
            val_path=_path("val_path", data_cfg.get("val_path")),
            format=_format(info, data_cfg.get("format")),
            no_labels=_boolean("no_labels", data_cfg.get("no_labels"), default=False),
            fraction=fraction,
            max_images=max_images,
            subset_file=subset_file,
            subset_seed=_subset_seed(data_cfg.get("subset_seed")),
            download=_boolean("download", data_cfg.get("download"), default=True),
        )

    @property
    def unlabelled(self) -> bool:
        """Whether the user declared own images to be without labels (read for ``custom`` only)."""
        return self.no_labels and self.info.name == "custom"

    def archive_root(self, split: str) -> tuple[str, Path]:
        """Key and folder of a data set that has both splits in one place (CIFAR, Fashion-MNIST)."""
        if split == "val" and self.val_path is not None:
            return "data.val_path", self.val_path
        return "data.train_path", self.train_path or Path(DEFAULT_ROOT)

    def split_root(self, split: str) -> tuple[str, Path]:
        """Key and path of one split of a data set whose splits live apart (class folders, HDF5)."""
        if split == "train":
            return "data.train_path", self.train_path or Path(DEFAULT_ROOT)
        if self.val_path is None:
            kind = "an HDF5 file" if self.format == "h5" else "a folder of images"
            raise UserError(f"data.val_path: found None, accepted: {kind} for the validation split")
        return "data.val_path", self.val_path


def check_split(split: str) -> None:
    """Refuse anything but "train" and "val"."""
    if split not in SPLITS:
        raise not_accepted("split", split, SPLITS)


def _check_one_subset(**given: Any) -> None:
    found = {f"data.{key}": value for key, value in given.items() if value is not None}
    if len(found) > 1:
        raise UserError(
            f"{', '.join(found)}: found {' and '.join(map(str, found.values()))}, accepted: one of them"
        )


def _format(info: DatasetInfo, value: Any) -> str:
    accepted = ("image_folder", "h5") if info.name in FOLDER_DATASETS else ("image_folder",)
    value = "image_folder" if value is None else value
    if value == "dali":
        raise UserError(
            f"data.format: found 'dali', which has its own loader, accepted: {', '.join(accepted)}"
        )
    if value not in accepted:
        raise not_accepted("data.format", value, accepted)
    return str(value)


def _path(key: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value).strip():
        raise UserError(f"data.{key}: found {value!r}, accepted: a path")
    return Path(value).expanduser()


def _boolean(key: str, value: Any, *, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise UserError(f"data.{key}: found {value!r}, accepted: true, false")
    return value


def _subset_seed(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"data.subset_seed: found {value!r}, accepted: an integer >= 0")
    return value


def _max_images(value: Any) -> int | None:
    if value is None or value == -1:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"data.max_images: found {value!r}, accepted: -1 (everything) or an integer >= 1")
    return value


def _fraction(value: Any) -> float | None:
    if value is None or value == -1:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise UserError(
            f"data.fraction: found {value!r}, accepted: -1 (everything) or strictly between 0 and 1"
        )
    return float(value)
