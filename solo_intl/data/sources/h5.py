"""solo-learn's HDF5 layout: one group per class, in it one data set of encoded bytes per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from solo_intl.data.dataset import decode_rgb
from solo_intl.errors import UserError


class H5Source:
    """Encoded images in an HDF5 file, opened by each process for itself when it first reads.

    HDF5 handles don't survive a fork and can't be pickled: the handle remembers its process and stays behind.
    """

    def __init__(self, path: Path, names: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> None:
        self.path = path
        self.names = list(names)
        self.labels = labels
        self.classes = list(classes)
        self._file: Any = None
        self._pid = -1

    def load(self, index: int) -> Image.Image:
        if self._pid != os.getpid():
            import h5py

            self._file, self._pid = h5py.File(self.path, "r"), os.getpid()
        content = self._file[self.names[index]][()]
        encoded = content if isinstance(content, bytes) else np.asarray(content).tobytes()
        return decode_rgb(encoded, f"{self.path}:{self.names[index]}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_pid": -1}


def class_groups(key: str, path: Path) -> list[str]:
    """Names of the groups at the top of the file, sorted: all of them, whatever the data set.

    Raises:
        UserError: h5py is missing, the file is missing or no HDF5 file, or it has no groups.
    """
    h5py = _h5py()
    with _open(key, path) as file:
        groups = sorted(name for name in file if isinstance(file.get(name), h5py.Group))
    if not groups:
        raise UserError(f"{key}: no groups in {path}, accepted: one group per class")
    return groups


def open_h5(key: str, path: Path, classes: Sequence[str], *, unlabelled: bool) -> H5Source:
    """The images of the groups ``classes``, numbered in that order; a class may be without a group.

    Raises:
        UserError: as ``class_groups``, or there are no images in these groups.
    """
    with _open(key, path) as file:
        per_class = [[f"{name}/{image}" for image in file.get(name, ())] for name in classes]
        for images in per_class:
            if images and not isinstance(file[images[0]], _h5py().Dataset):
                raise UserError(f"{key}: found a group at {images[0]} in {path}, accepted: encoded images")
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in per_class])
    if len(labels) == 0:
        raise UserError(f"{key}: no images in {path}, accepted: groups that hold one data set per image")
    names = [name for images in per_class for name in images]
    if unlabelled:
        return H5Source(path, names, np.full(len(names), -1), [])
    return H5Source(path, names, labels, classes)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UserError("data.format: found 'h5', which needs h5py: pip install h5py") from None
    return h5py


def _open(key: str, path: Path) -> Any:
    h5py = _h5py()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UserError(f"{key}: found {found} at {path}, accepted: an HDF5 file (data.format is h5)")
    try:
        return h5py.File(path, "r")
    except OSError:
        raise UserError(
            f"{key}: {path} can't be read, accepted: a whole HDF5 file (data.format is h5)"
        ) from None
