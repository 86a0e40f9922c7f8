"""CIFAR-10 and CIFAR-100 in the layout torchvision downloads and reads."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from solo_intl.data.dataset import ArraySource
from solo_intl.data.settings import DataSettings
from solo_intl.data.sources.download import DownloadError, fetch, keep, staging
from solo_intl.errors import UserError

_PIXELS = 3 * 32 * 32


def open_cifar(settings: DataSettings, split: str) -> ArraySource:
    """The 32 x 32 RGB images of one split.

    File names, address and checksum of the archive are torchvision's. The files are read here: their
    structure is checked, and nothing but arrays, lists and text is unpickled from them.

    Raises:
        UserError: not there and not to be had, or a file that isn't what CIFAR's are.
    """
    name = settings.info.name
    key, root = settings.archive_root(split)
    folder = find_folder(name, root, split)
    if folder is None:
        _download(settings, key, root)
        folder = root / _official(name).base_folder
    batches = [
        _read_batch(folder / file, settings.info.num_classes or 0) for file in split_files(name, split)
    ]
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return ArraySource(images, labels, _read_classes(name, folder), split)


def find_folder(name: str, root: Path, split: str) -> Path | None:
    """The folder that holds a split's files and the class names: below ``root``, or ``root`` itself."""
    official = _official(name)
    needed = [*split_files(name, split), official.meta["filename"]]
    for folder in (root / official.base_folder, root):
        if all((folder / file).is_file() for file in needed):
            return folder
    return None


def split_files(name: str, split: str) -> list[str]:
    """Names of a split's files.

    Example:
        >>> split_files("cifar10", "val")
        ['test_batch']
    """
    official = _official(name)
    return [file for file, _ in (official.train_list if split == "train" else official.test_list)]


def how_to_get(name: str) -> str:
    """What a user without the files can do."""
    official = _official(name)
    return (
        f"unpack {official.url} into data.train_path, or leave data.download true on a machine with internet"
    )


def _official(name: str) -> Any:
    import torchvision

    return {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]


class _ArraysOnly(pickle.Unpickler):
    """Unpickles what CIFAR's files hold; any other name in a pickle could run its author's code."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 spells bytes in the old protocols
            return codecs.encode
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a CIFAR file")


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: truncated or not a CIFAR file ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a {type(content).__name__}, accepted: a CIFAR file's dictionary")
    return content


def _read_batch(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = _unpickle(path)
    label_key = "labels" if num_classes == 10 else "fine_labels"
    if "data" not in content or label_key not in content:
        raise UserError(f"{path}: found keys {sorted(map(str, content))}, accepted: data and {label_key}")
    data = np.asarray(content["data"])
    labels = np.asarray(content[label_key])
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS or len(data) != len(labels):
        raise UserError(
            f"{path}: found data {data.dtype} {list(data.shape)} and {len(labels)} labels, accepted: "
            f"uint8 [n, {_PIXELS}] and n labels"
        )
    if len(labels) == 0 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(f"{path}: found no or other labels than whole numbers from 0 to {num_classes - 1}")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)


def _read_classes(name: str, folder: Path) -> list[str]:
    meta = _official(name).meta
    content = _unpickle(folder / meta["filename"])
    if meta["key"] not in content:
        raise UserError(
            f"{folder / meta['filename']}: found keys {sorted(map(str, content))}, accepted: {meta['key']}"
        )
    return [str(label) for label in content[meta["key"]]]


def _download(settings: DataSettings, key: str, root: Path) -> None:
    """Fetch and unpack the archive beside its final place, then move the files in."""
    from torchvision.datasets.utils import extract_archive

    official = _official(settings.info.name)
    reason = "data.download is false"
    if settings.download:
        try:
            with staging(root) as temporary:
                fetch(official.url, temporary / official.filename, official.tgz_md5)
                extract_archive(str(temporary / official.filename), str(temporary))
                keep(temporary / official.base_folder, root / official.base_folder)
            return
        except DownloadError as error:
            reason = f"download failed: {error}"
    raise UserError(
        f"{key}: {settings.info.name} not found, looked for {root / official.base_folder} ({reason}); "
        f"get it: {how_to_get(settings.info.name)}"
    )
