"""Opening one split of any data set, and how many classes it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from solo_intl.data.dataset import ImageDataset, ImageSource
from solo_intl.data.settings import DataSettings, check_split
from solo_intl.data.sources.cifar import open_cifar
from solo_intl.data.sources.digits import open_digits
from solo_intl.data.sources.fashion_mnist import open_fashion_mnist
from solo_intl.data.sources.folder import check_folder, class_folders, open_labelled, open_unlabelled
from solo_intl.data.sources.h5 import class_groups, open_h5
from solo_intl.data.subset import subset_indices
from solo_intl.errors import UserError


def open_split(
    data_cfg: Mapping[str, Any], split: str, transform: Callable[[Image.Image], Any] | None = None
) -> ImageDataset:
    """Open the training or validation split that a ``data`` configuration describes.

    Own images (``imagenet``, ``imagenet100``, ``custom``) are one folder per class, or with ``format: h5``
    one HDF5 group per class; every class found is used, ``imagenet100`` included. A validation split takes
    its numbering of the classes from the training split, so a class that is absent from it shifts no label.
    A ``custom`` folder is unlabelled if ``no_labels`` says so or if it has images but no class folders; with
    both and without ``no_labels`` it is refused.

    Args:
        data_cfg: solo-learn's keys ``dataset``, ``train_path``, ``val_path``, ``format``, ``no_labels`` and
            ``fraction``, and ours: ``max_images``, ``subset_file``, ``subset_seed``, ``download``. Others are
            ignored.
        split: "train" or "val". ``fraction``, ``max_images`` and ``subset_file`` reduce the training split
            alone.
        transform: applied to each PIL RGB image.

    Raises:
        UserError: a value that isn't accepted; files missing, damaged or not of the right kind; more images
            asked for than there are.

    Example:
        >>> digits = open_split({"dataset": "digits", "max_images": 100}, "train")
        >>> len(digits), [digits.labels.count(c) for c in range(10)]
        (100, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    check_split(split)
    settings = DataSettings.parse(data_cfg)
    source = _open_source(settings, split)
    indices = subset_indices(source.labels, source.names, settings) if split == "train" else None
    return ImageDataset(source, indices, transform)


def count_classes(data_cfg: Mapping[str, Any]) -> int:
    """Number of classes, for the size of a classifier: 1 when the images have no labels.

    For ``custom`` it is the number of class folders with images (or of HDF5 groups) of the training split.

    Raises:
        UserError: as ``open_split``.

    Example:
        >>> count_classes({"dataset": "imagenet100"})
        100
    """
    settings = DataSettings.parse(data_cfg)
    if settings.info.num_classes is not None:
        return settings.info.num_classes
    return len(_own_classes(settings, "train")) or 1


def _open_source(settings: DataSettings, split: str) -> ImageSource:
    name = settings.info.name
    if name == "digits":
        return open_digits(split)
    if name == "fashion_mnist":
        return open_fashion_mnist(settings, split)
    if name in ("cifar10", "cifar100"):
        return open_cifar(settings, split)
    key, root = settings.split_root(split)
    classes = _own_classes(settings, split)
    if settings.format == "h5":
        groups = classes or class_groups(key, root)
        return open_h5(key, root, groups, unlabelled=settings.unlabelled)
    return open_labelled(root, classes) if classes else open_unlabelled(root)


def _own_classes(settings: DataSettings, split: str) -> list[str]:
    """Class names of the user's own images in the order of their labels; empty if there are no labels."""
    classes = _classes_on_disk(settings, split)
    if settings.unlabelled or split == "train":
        return classes
    if settings.train_path is not None and settings.train_path.exists():
        trained = _classes_on_disk(settings, "train")
        if trained and not classes:
            raise UserError(
                f"data.val_path: found no class folders in {settings.val_path}, accepted: the classes of "
                "data.train_path"
            )
        unknown = sorted(set(classes) - set(trained))
        if trained and unknown:
            raise UserError(
                f"data.val_path: found class {unknown[0]!r} in {settings.val_path}, accepted: the classes in "
                f"data.train_path ({settings.train_path})"
            )
        classes = trained or classes
    return classes


def _classes_on_disk(settings: DataSettings, split: str) -> list[str]:
    key, root = settings.split_root(split)
    if settings.format == "h5":
        classes = class_groups(key, root)
    else:
        check_folder(key, root)
        classes, beside = ([], 0) if settings.unlabelled else class_folders(root)
        own = settings.info.name == "custom"
        if own and classes and beside:
            raise UserError(
                f"{key}: found {beside} image(s) beside {len(classes)} class folder(s) in {root}, accepted: "
                "class folders only, or data.no_labels=true to take everything without labels"
            )
        if not classes and not own:
            raise UserError(f"{key}: no class folders with images in {root}, accepted: one folder per class")
    if settings.unlabelled:
        return []
    limit = settings.info.num_classes
    if limit is not None and len(classes) > limit:
        raise UserError(
            f"{key}: found {len(classes)} classes in {root}, accepted: at most {limit} "
            f"for {settings.info.name} (data.dataset=custom takes any number)"
        )
    return classes
