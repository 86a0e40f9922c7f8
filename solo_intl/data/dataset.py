"""One data set class over any source of images."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from solo_intl.errors import UserError

#: What Pillow raises on bytes that are not, or not entirely, an image.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class ImageReadError(UserError):
    """An image that can't be decoded, met while reading it.

    A DataLoader re-raises a worker's exception by calling its class with the whole traceback as text; only
    its end, the message, is kept, so that the user still sees one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class ImageSource(Protocol):
    """Where the images of one split come from. ``labels`` is -1 throughout when there are none."""

    labels: np.ndarray
    classes: list[str]
    names: list[str]

    def load(self, index: int) -> Image.Image:
        """Image number ``index``, in RGB."""


class ArraySource:
    """Images held in memory as one uint8 array [n, h, w] (grey) or [n, h, w, 3] (RGB)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], split: str) -> None:
        self.images = images
        self.labels = labels
        self.classes = list(classes)
        self.names = [f"{split}/{index:05d}" for index in range(len(images))]

    def load(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index]).convert("RGB")


def decode_rgb(encoded: Path | bytes, where: str) -> Image.Image:
    """Decode a file, or the bytes of one, into an RGB image; 16-bit grey levels are scaled to 8 bits.

    Raises:
        ImageReadError: a file that can't be read, not an image, a truncated one, or one whose pixels have no
            fixed range; the message begins with ``where``.
    """
    try:
        with Image.open(encoded if isinstance(encoded, Path) else io.BytesIO(encoded)) as image:
            if image.mode == "F":
                raise ImageReadError(
                    f"{where}: found floating-point pixels (mode F), accepted: 8 or 16 bits per channel"
                )
            if image.mode == "I" or image.mode.startswith("I;16"):
                return _scale_to_rgb(image, where)
            return image.convert("RGB")
    except _DECODE_ERRORS as error:
        # Only the system's errors have a strerror; Pillow's own OSErrors are about the content.
        reason = getattr(error, "strerror", None)
        found = f"can't be read ({reason})" if reason else "found bytes that don't decode"
        raise ImageReadError(f"{where}: {found}, accepted: a whole image file") from None


def _scale_to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Grey levels 0 to 65535 brought to 0 to 255, where Pillow's conversion would clip them."""
    levels = np.asarray(image)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ImageReadError(f"{where}: found grey levels from {low} to {high}, accepted: 0 to 65535")
    rounded = (levels.astype(np.uint32) + 128) // 257
    return Image.fromarray(rounded.astype(np.uint8)).convert("RGB")


class ImageDataset(Dataset[tuple[Any, int]]):
    """Images and labels of one split, or of a subset of it.

    ``ds[i]`` is ``(transform(image), label)``; without a transform, a PIL RGB image. The label is -1 when
    there is none.

    Args:
        source: where the images come from.
        indices: which of the source's images, in which order; None for all.
        transform: applied to each PIL RGB image.

    Attributes:
        labels: one int per image.
        classes: class names, in the order of the labels; empty without labels.
        names: path relative to the data set's root, or "train/00012" for images that are not files.
        has_labels: whether the labels mean anything.

    Example:
        >>> from solo_intl.data import open_split
        >>> digits = open_split({"dataset": "digits"}, "val")
        >>> image, label = digits[0]
        >>> len(digits), image.size, image.mode, label == digits.labels[0], digits.names[0]
        (360, (8, 8), 'RGB', True, 'val/00000')
    """

    def __init__(
        self,
        source: ImageSource,
        indices: np.ndarray | None = None,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.source = source
        self.transform = transform
        self._indices = np.arange(len(source.labels)) if indices is None else np.asarray(indices)
        self.labels: list[int] = source.labels[self._indices].tolist()
        self.names: list[str] = [source.names[int(i)] for i in self._indices]
        self.classes: list[str] = list(source.classes)
        self.has_labels = bool(self.classes)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.source.load(int(self._indices[index]))
        return (image if self.transform is None else self.transform(image)), self.labels[index]


class WithIndex(Dataset[tuple[Any, ...]]):
    """Adds the index in front of each item, as solo-learn's pre-training batches have it.

    Example:
        >>> from solo_intl.data import open_split
        >>> index, image, label = WithIndex(open_split({"dataset": "digits"}, "train"))[7]
        >>> index
        7
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])
