"""Features of a frozen backbone, computed once, and raw pixels as the baseline beside them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_intl.errors import UserError, not_accepted

_AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Features:
    """Features of a set of images, in the data set's order.

    Attributes:
        x: float32 [n, d], on the CPU.
        y: int64 [n] labels; -1 = unlabelled.
        names: n names, one per image.

    Raises:
        ValueError: shapes that don't fit together.

    Example:
        >>> Features(torch.zeros(2, 3), torch.tensor([0, 1]), ["a.png", "b.png"]).x.shape
        torch.Size([2, 3])
    """

    x: Tensor
    y: Tensor
    names: list[str]

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1] or len(self.names) != len(self.x):
            raise ValueError(
                f"expected x [n, d], y [n] and n names, got {list(self.x.shape)}, {list(self.y.shape)} and "
                f"{len(self.names)}"
            )


def check_labelled(features: Features, part: str) -> None:
    """Refuse features that can't be classified.

    Args:
        features: what a classifier is about to be given.
        part: "train" or "test", for the message.

    Raises:
        UserError: no images, images without labels, or features that are not finite.

    Example:
        >>> check_labelled(Features(torch.zeros(1, 3), torch.tensor([-1]), ["a.png"]), "train")
        Traceback (most recent call last):
        ...
        solo_intl.errors.UserError: train set: 1 of 1 images have no label; a classifier needs them all
    """
    if len(features.x) == 0:
        raise UserError(f"{part} set: found no images; at least one is needed")
    unlabelled = int((features.y < 0).sum())
    if unlabelled:
        raise UserError(
            f"{part} set: {unlabelled} of {len(features.y)} images have no label; a classifier needs them all"
        )
    _check_finite(features.x, features.names, f"{part} set")


def extract_features(
    backbone: nn.Module,
    dataset: Any,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "32-true",
) -> Features:
    """Send every image of a data set through a backbone in evaluation mode.

    Order is kept and no image is dropped. Each module's train/eval mode is put back at the end and the global
    random generators are not drawn from; the backbone stays on `device`, its convolutions in channels_last.

    Args:
        backbone: maps a batch of images to [batch, d].
        dataset: `dataset[i]` gives (image tensor, int label); `dataset.names`, when present, names the
            images.
        batch_size: images per forward pass.
        num_workers: loader processes.
        device: where to compute.
        precision: "32-true", "bf16-mixed" or "16-mixed" (autocast); the features are float32 in all three.

    Raises:
        UserError: unknown precision, no images, output that is not [batch, d], features that are not finite.

    Example:
        >>> images = torch.utils.data.TensorDataset(torch.ones(3, 1, 2, 2), torch.tensor([0, 1, 0]))
        >>> features = extract_features(nn.Flatten(), images, batch_size=2)
        >>> features.x.shape, features.y.tolist(), features.names
        (torch.Size([3, 4]), [0, 1, 0], ['00000', '00001', '00002'])
    """
    if precision not in _AUTOCAST_DTYPES:
        raise not_accepted("precision", precision, _AUTOCAST_DTYPES)
    names = _names(dataset)
    device = torch.device(device)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # otherwise the loader draws its seed from the global generator
    )
    modes = [(module, module.training) for module in backbone.modules()]
    # outside inference mode, which would turn the parameters themselves into inference tensors
    backbone.eval().to(device).to(memory_format=torch.channels_last)
    xs, ys = [], []
    try:
        with torch.inference_mode(), _autocast(device, precision):
            for images, labels in loader:
                images = images.to(device, non_blocking=True)
                if images.ndim == 4:
                    images = images.contiguous(memory_format=torch.channels_last)
                out = backbone(images)
                if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(images):
                    raise UserError(
                        f"backbone: output is {_describe(out)}, accepted: a tensor [batch, features]"
                    )
                xs.append(out.float().cpu())
                ys.append(torch.as_tensor(labels, dtype=torch.int64))
    finally:
        for module, training in modes:
            module.training = training
    # joined outside inference mode: inference tensors could not be used by the probe's autograd
    x = torch.cat(xs)
    _check_finite(x, names, "backbone")
    return Features(x, torch.cat(ys), names)


def raw_pixel_features(dataset: Any) -> Features:
    """Pixels as features: each image at its native size, flattened (height, width, channel), in [0, 1].

    Args:
        dataset: opened without a transform: `dataset[i]` gives (PIL image, int label).

    Raises:
        UserError: no images, or images of different sizes.
        TypeError: the data set has a transform that already made tensors.

    Example:
        >>> from PIL import Image
        >>> raw_pixel_features([(Image.new("RGB", (2, 1), (255, 0, 0)), 7)]).x
        tensor([[1., 0., 0., 1., 0., 0.]])
    """
    names = _names(dataset)
    rows, labels, first = [], [], None
    for index, name in enumerate(names):
        image, label = dataset[index]
        if isinstance(image, Tensor):
            raise TypeError("raw_pixel_features needs PIL images: open the data set without a transform")
        first = first or image.size
        if image.size != first:
            raise UserError(
                f"{name}: image is {image.size[0]}x{image.size[1]} and the first {first[0]}x{first[1]}; "
                "raw pixels need images of one size"
            )
        rows.append(np.asarray(image, dtype=np.float32).reshape(-1) / np.float32(255))
        labels.append(int(label))
    return Features(torch.from_numpy(np.stack(rows)), torch.tensor(labels, dtype=torch.int64), names)


def _names(dataset: Any) -> list[str]:
    if len(dataset) == 0:
        raise UserError("data: found no images; at least one is needed")
    names = getattr(dataset, "names", None)
    return [str(name) for name in names] if names is not None else [f"{i:05d}" for i in range(len(dataset))]


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    dtype = _AUTOCAST_DTYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _describe(out: Any) -> str:
    return f"a tensor {list(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"


def _check_finite(x: Tensor, names: list[str], source: str) -> None:
    bad = (~x.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise UserError(
            f"{source}: features of {len(bad)} of {len(x)} images are NaN or infinite "
            f"(first: {names[int(bad[0])]}); only finite features can be evaluated"
        )
