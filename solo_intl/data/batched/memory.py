"""A data set as one uint8 tensor in memory, read a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from solo_intl.data.dataset import ImageDataset
from solo_intl.errors import UserError

#: Share of the machine's memory that the images may take.
MEMORY_SHARE = 0.5


class MemoryImages(Dataset[Any]):
    """Every image of a data set, decoded once; a batch is one row lookup.

    A DataLoader asks for whole batches (``__getitems__``) and gets [indices, uint8 [n, 3, h, w], labels];
    give it ``collate_fn=as_is``.

    Args:
        dataset: opened without a transform.

    Raises:
        UserError: images of different sizes, or more than half of the machine's memory.

    Example:
        >>> from solo_intl.data import open_split
        >>> images = MemoryImages(open_split({"dataset": "digits"}, "val"))
        >>> indices, batch, labels = images.__getitems__([3, 5])
        >>> len(images), batch.shape, batch.dtype
        (360, torch.Size([2, 3, 8, 8]), torch.uint8)
    """

    def __init__(self, dataset: ImageDataset) -> None:
        width, height = dataset[0][0].size
        needed = len(dataset) * 3 * height * width
        allowed = int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        if needed > allowed:
            raise UserError(
                f"data.augment: found 'batched' and {len(dataset)} images of {width} x {height} px, "
                f"{needed / 2**30:.1f} GiB; accepted: stock, or at most {allowed / 2**30:.1f} GiB here"
            )
        self.images = torch.empty(len(dataset), 3, height, width, dtype=torch.uint8)
        for i in range(len(dataset)):
            image, _ = dataset[i]
            if image.size != (width, height):
                raise UserError(
                    f"data.augment: found 'batched', but {dataset.names[i]} has {image.width} x "
                    f"{image.height} px and {dataset.names[0]} {width} x {height}; "
                    "accepted: stock, or images of one size"
                )
            self.images[i] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        self.labels = torch.tensor(dataset.labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return [part[0] for part in self.__getitems__([index])]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        rows = torch.as_tensor(indices)
        return [rows, self.images.index_select(0, rows), self.labels.index_select(0, rows)]


def as_is(batch: Any) -> Any:
    """What a DataLoader is told to do with a batch that is one already."""
    return batch
