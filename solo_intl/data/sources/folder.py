"""Folders of image files: one folder per class, or no classes at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from solo_intl.data.dataset import decode_rgb
from solo_intl.errors import UserError

#: What torchvision's ImageFolder takes for an image. (Written out: importing torchvision takes seconds.)
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class FolderSource:
    """Image files below a root; ``names`` are their paths relative to it."""

    def __init__(self, root: Path, names: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> None:
        self.root = root
        self.names = list(names)
        self.labels = labels
        self.classes = list(classes)

    def load(self, index: int) -> Image.Image:
        path = self.root / self.names[index]
        return decode_rgb(path, str(path))


def image_files(root: Path) -> Iterator[str]:
    """Image files below ``root`` at any depth, as relative paths with forward slashes, folder by folder.

    Files and folders whose names begin with a dot are skipped, as is what has no image extension.
    """
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        for name in sorted(files):
            if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith("."):
                yield (relative / name).as_posix()


def class_folders(root: Path) -> list[str]:
    """Names of the folders directly below ``root`` with at least one image below them, sorted."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return [name for name in folders if next(image_files(root / name), None) is not None]


def check_folder(key: str, root: Path) -> None:
    """Refuse what isn't a folder with images somewhere below it.

    Raises:
        UserError: naming ``key`` and the path.
    """
    if root.is_file():
        hint = "; for an HDF5 file set data.format=h5" if root.suffix in (".h5", ".hdf5") else ""
        raise UserError(f"{key}: found the file {root}, accepted: a folder of images{hint}")
    if not root.is_dir():
        raise UserError(f"{key}: {root} doesn't exist, accepted: a folder of images")
    if next(image_files(root), None) is None:
        raise UserError(f"{key}: no images in {root}, accepted: image files ({', '.join(IMG_EXTENSIONS)})")


def open_labelled(root: Path, classes: Sequence[str]) -> FolderSource:
    """The images of the class folders ``classes``, numbered in that order; a class may have no folder."""
    per_class = [[f"{name}/{file}" for file in image_files(root / name)] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in per_class])
    return FolderSource(root, [file for files in per_class for file in files], labels, classes)


def open_unlabelled(root: Path) -> FolderSource:
    """Every image below ``root``, sorted by name, labels -1."""
    names = sorted(image_files(root))
    return FolderSource(root, names, np.full(len(names), -1), [])
