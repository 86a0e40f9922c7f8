"""What this machine has: the table behind ``solo-intl data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from solo_intl.data.registry import DATASETS, dataset_info
from solo_intl.data.settings import SPLITS, DataSettings
from solo_intl.data.sources.cifar import find_folder, how_to_get
from solo_intl.data.sources.fashion_mnist import HOW_TO_GET, count_images, find_files
from solo_intl.data.splits import open_split
from solo_intl.errors import UserError

_OWN_FILES = "set data.train_path and data.val_path to folders with one folder of images per class"


def describe(data_cfg: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """What is known about each data set on this machine. Downloads nothing, and never fails.

    Args:
        data_cfg: a ``data`` configuration; its paths are used for the data set it names, or for CIFAR and
            Fashion-MNIST if it names none. Own images are looked at only if it names them.

    Returns:
        One dict per data set: ``name``, ``num_classes`` and ``image_size`` (None: varies), ``found`` (bool),
        ``where`` (the place, or what stands in the way), ``train`` and ``val`` (number of images, None when
        unknown or, as for ImageNet, slow to count), ``get`` (how to have it; empty when found).

    Raises:
        UserError: ``data_cfg`` names an unknown data set.

    Example:
        >>> row = describe()[0]
        >>> row["name"], row["found"], row["train"], row["val"]
        ('digits', True, 1437, 360)
    """
    given = {
        key: (data_cfg or {}).get(key) for key in ("dataset", "train_path", "val_path", "format", "no_labels")
    }
    named = given.pop("dataset")
    if named is None:
        return [
            _row(name, {key: given[key] for key in ("train_path", "val_path")}, False) for name in DATASETS
        ]
    dataset_info(named)
    return [_row(name, given if name == named else {}, name == named) for name in DATASETS]


def _row(name: str, given: Mapping[str, Any], named: bool) -> dict[str, Any]:
    cfg = {**given, "dataset": name, "download": False}
    row: dict[str, Any] = {
        "name": name,
        "num_classes": DATASETS[name].num_classes,
        "image_size": DATASETS[name].image_size,
        "found": False,
        "where": "",
        "train": None,
        "val": None,
        "get": "",
    }
    try:
        row.update(_LOOK[name](cfg, named))
    except (UserError, OSError) as error:
        row["where"] = str(error)
    if not row["found"]:
        row["get"] = _get(name)
    return row


def _digits(cfg: dict[str, Any], named: bool) -> dict[str, Any]:
    return {"found": True, "where": "scikit-learn", **_count(cfg)}


def _fashion_mnist(cfg: dict[str, Any], named: bool) -> dict[str, Any]:
    settings = DataSettings.parse(cfg)
    files = {split: find_files(settings, split) for split in SPLITS}
    places = dict.fromkeys(str(pair[0].parent) for pair in files.values() if pair)
    counts = {split: count_images(pair) for split, pair in files.items() if pair}
    return {"found": len(counts) == 2, "where": ", ".join(places) or "not on this machine", **counts}


def _cifar(cfg: dict[str, Any], named: bool) -> dict[str, Any]:
    settings = DataSettings.parse(cfg)
    roots = {split: settings.archive_root(split)[1] for split in SPLITS}
    folders = {split: find_folder(settings.info.name, root, split) for split, root in roots.items()}
    if None in folders.values():
        missing = next(split for split, folder in folders.items() if folder is None)
        return {"where": f"not in {roots[missing]}"}
    return {"found": True, "where": ", ".join(dict.fromkeys(map(str, folders.values()))), **_count(cfg)}


def _own(cfg: dict[str, Any], named: bool) -> dict[str, Any]:
    if not named or cfg.get("train_path") is None:
        return {"where": "data.train_path is not set"}
    settings = DataSettings.parse(cfg)
    splits = SPLITS if settings.val_path is not None else SPLITS[:1]
    roots = [settings.split_root(split) for split in splits]
    for key, root in roots:
        if not root.exists():
            return {"where": f"{key}: {root} doesn't exist"}
    # Listing ImageNet can take minutes on a network disk; own folders are usually small.
    counts = _count(cfg, splits) if cfg["dataset"] == "custom" else {}
    return {"found": True, "where": ", ".join(str(root) for _, root in roots), **counts}


def _count(cfg: dict[str, Any], splits: Sequence[str] = SPLITS) -> dict[str, int]:
    return {split: len(open_split(cfg, split)) for split in splits}


def _get(name: str) -> str:
    if name == "fashion_mnist":
        return HOW_TO_GET
    return how_to_get(name) if name in ("cifar10", "cifar100") else _OWN_FILES


_LOOK = {
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "imagenet": _own,
    "imagenet100": _own,
    "custom": _own,
}
