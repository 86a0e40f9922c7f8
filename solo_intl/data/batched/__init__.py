"""Augmentation of whole batches as tensors, on the training device: ``data.augment=batched``.

The images are one uint8 tensor in memory (:class:`MemoryImages`); every view of a batch is made by a few
tensor operations, each image with random parameters of its own (:class:`BatchedViews`).
"""

from __future__ import annotations

from solo_intl.data.batched.memory import MemoryImages, as_is
from solo_intl.data.batched.parameters import Draws, ViewSettings, draw
from solo_intl.data.batched.views import BatchedViews, augment

__all__ = ["BatchedViews", "Draws", "MemoryImages", "ViewSettings", "as_is", "augment", "draw"]
