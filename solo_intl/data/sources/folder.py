"""Folders of image files: one folder per class, or no classes at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

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


def image_files(root: Path, subfolder: str = "") -> Iterator[str]:
    """Image files at any depth, as paths relative to ``root`` with forward slashes, folder by folder.

    Files and folders whose names begin with a dot are skipped, as is what has no image extension. Links to
    folders are followed, except to a folder that the link itself is in.

    Args:
        root: where the paths start.
        subfolder: a folder directly below ``root`` to look in, instead of everywhere.

    Raises:
        UserError: a folder that can't be listed.
    """
    path_here = [_identity(root)]  # of the folders from the root to this one: the walk is depth first
    for folder, subfolders, files in os.walk(root / subfolder, onerror=refuse_unlistable, followlinks=True):
        relative = Path(folder).relative_to(root)
        if depth := len(relative.parts):
            path_here[depth:] = [_identity(folder)]
            if path_here[-1] in path_here[:-1]:
                subfolders.clear()
                continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from ((relative / name).as_posix() for name in sorted(files) if _is_image(name))


def refuse_unlistable(error: OSError) -> NoReturn:
    """What ``os.walk`` calls for a folder that it would otherwise pass over in silence."""
    raise UserError(
        f"{error.filename}: can't be listed ({error.strerror}), accepted: a readable folder"
    ) from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(".")


def _identity(folder: Path | str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def class_folders(root: Path) -> tuple[list[str], int]:
    """Names of the folders directly below ``root`` with images, sorted, and how many images lie beside them.

    Raises:
        UserError: a folder that can't be listed.
    """
    _, folders, files = next(os.walk(root, onerror=refuse_unlistable))
    visible = sorted(name for name in folders if not name.startswith("."))
    classes = [name for name in visible if next(image_files(root, name), None) is not None]
    return classes, sum(map(_is_image, files))


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
    per_class = [list(image_files(root, name)) if (root / name).is_dir() else [] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in per_class])
    return FolderSource(root, [file for files in per_class for file in files], labels, classes)


def open_unlabelled(root: Path) -> FolderSource:
    """Every image below ``root``, sorted by name, labels -1."""
    names = sorted(image_files(root))
    return FolderSource(root, names, np.full(len(names), -1), [])
