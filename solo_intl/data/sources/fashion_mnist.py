"""Fashion-MNIST: 70,000 grey images of clothes, wherever this machine has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from solo_intl.data.dataset import ArraySource
from solo_intl.data.settings import DataSettings
from solo_intl.data.sources.download import DownloadError, fetch, keep, staging
from solo_intl.data.sources.idx import idx_shape, read_idx
from solo_intl.errors import UserError

#: Where Debian and Ubuntu's dataset-fashion-mnist puts the files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TORCHVISION_FOLDER = Path("FashionMNIST") / "raw"
HOW_TO_GET = "apt-get install dataset-fashion-mnist, or point data.train_path at a torchvision folder"

_PREFIX = {"train": "train", "val": "t10k"}
_PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_SIDE = 28


def open_fashion_mnist(settings: DataSettings, split: str) -> ArraySource:
    """The 28 x 28 images of one split, from the first place that has them.

    Places, in order: the configured path (the idx files themselves, gzipped or not, or torchvision's
    ``FashionMNIST/raw``), Debian's folder, then, if ``data.download`` allows it, the internet.

    Raises:
        UserError: found nowhere; or a file is truncated, or images and labels don't belong together.
    """
    import torchvision

    files = find_files(settings, split) or _download(settings, split)
    images, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise UserError(
            f"{files[0]}: found images of {images.shape[1:]} pixels, accepted: ({_SIDE}, {_SIDE})"
        )
    if len(images) != len(labels):
        raise UserError(f"{files[1]}: found {len(labels)} labels, accepted: {len(images)}, one per image")
    classes = torchvision.datasets.FashionMNIST.classes
    if len(labels) == 0 or labels.max() >= len(classes):
        found = f"a label {labels.max()}" if len(labels) else "no labels"
        raise UserError(f"{files[1]}: found {found}, accepted: labels 0 to {len(classes) - 1}")
    return ArraySource(images, labels.astype(np.int64), classes, split)


def find_files(settings: DataSettings, split: str) -> tuple[Path, Path] | None:
    """Image and label file of a split, None when no place has both."""
    for folder in _places(settings, split):
        images, labels = (_plain_or_gz(folder / f"{_PREFIX[split]}-{part}") for part in _PARTS)
        if images is not None and labels is not None:
            return images, labels
    return None


def count_images(files: tuple[Path, Path]) -> int:
    """Number of images, from the header alone."""
    return idx_shape(files[0], 3)[0]


def _places(settings: DataSettings, split: str) -> list[Path]:
    roots = [settings.archive_root(split)[1], settings.archive_root("train")[1]]
    folders = [folder for root in roots for folder in (root, root / TORCHVISION_FOLDER)]
    return list(dict.fromkeys([*folders, SYSTEM_FOLDER]))


def _plain_or_gz(path: Path) -> Path | None:
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((file for file in candidates if file.is_file()), None)


def _download(settings: DataSettings, split: str) -> tuple[Path, Path]:
    """Put the four gzipped files where torchvision puts them; image and label file of the split."""
    import torchvision

    official = torchvision.datasets.FashionMNIST
    key, root = settings.archive_root("train")
    reason = "data.download is false"
    if settings.download:
        try:
            with staging(root) as temporary:
                for name, md5 in official.resources:
                    fetch(official.mirrors[0] + name, temporary / name, md5)
                keep(temporary, root / TORCHVISION_FOLDER)
            images, labels = (root / TORCHVISION_FOLDER / f"{_PREFIX[split]}-{part}.gz" for part in _PARTS)
            return images, labels
        except DownloadError as error:
            reason = f"download failed: {error}"
    looked = ", ".join(str(folder) for folder in _places(settings, split))
    raise UserError(
        f"{key}: Fashion-MNIST not found, looked for {_PREFIX[split]}-{_PARTS[0]}[.gz] and "
        f"{_PREFIX[split]}-{_PARTS[1]}[.gz] in {looked} ({reason}); get it: {HOW_TO_GET}"
    )
