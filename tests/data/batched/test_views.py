"""Claims: every entry gives ``num_crops`` views of its size, normalised; seed, step and rank decide the views
and nothing else does, the global generators included; images of one batch are treated apart; views are made
on the images' device, from parameters sent there without waiting for it; a batch in memory holds the pixels,
labels and indices of the data set; images that are too many or of several sizes are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_files import write_cifar10
from colour_images import colour_images
from data_files import refused, write_class_folders, write_h5
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, DistributedSampler

from solo_intl.data import open_split
from solo_intl.data.batched import BatchedViews, MemoryImages, as_is, memory

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)


def entries(make_cfg, *overrides: dict) -> list[dict]:
    from solo_intl.host import plain

    (view,) = plain(make_cfg().augmentations)
    return [{**view, **override} for override in overrides]


def test_each_entry_is_honoured(make_cfg) -> None:
    views = entries(
        make_cfg, {"crop_size": 24, "num_crops": 1}, {"num_crops": 2}, {"crop_size": 9, "num_crops": 3}
    )
    made = BatchedViews(views, MEAN, STD, seed=0)(colour_images(5))
    assert [tuple(view.shape) for view in made] == [(5, 3, s, s) for s in (24, 16, 16, 9, 9, 9)]
    assert all(view.dtype == torch.float32 and view.is_contiguous() for view in made)
    assert not torch.equal(made[1], made[2]) and not torch.equal(made[4], made[5])


def test_views_are_normalised(make_cfg) -> None:
    off = {key: {"prob": 0.0} for key in ("color_jitter", "grayscale", "gaussian_blur", "solarization")}
    off |= {"equalization": {"prob": 0.0}, "horizontal_flip": {"prob": 0.0}, "rrc": {"enabled": False}}
    images = colour_images(4, 16, 16)
    (view,) = BatchedViews(entries(make_cfg, {**off, "num_crops": 1}), MEAN, STD, seed=0)(images)
    expected = (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_seed_step_and_rank_decide(make_cfg) -> None:
    views, images = entries(make_cfg, {}), colour_images(6)

    def made(seed: int, step: int, rank: int) -> torch.Tensor:
        return torch.stack(BatchedViews(views, MEAN, STD, seed)(images, step, rank))

    torch.manual_seed(0)
    first, state = made(0, 3, 1), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, made(0, 3, 1))
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 0), (0, 1, 3)):
        assert not torch.equal(first, made(*other))


def test_each_image_has_its_own_draws(make_cfg) -> None:
    same = colour_images(1).expand(40, 3, 32, 32)
    for view in BatchedViews(entries(make_cfg, {}), MEAN, STD, seed=0)(same):
        assert len({image.numpy().tobytes() for image in view}) == 40


class Copies(TorchDispatchMode):
    """Whether each copy from the CPU to another device lets the CPU go on."""

    def __init__(self) -> None:
        super().__init__()
        self.free: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        there = torch.device(kwargs.get("device") or "cpu").type
        if func._schema.name == "aten::_to_copy" and args[0].device.type == "cpu" != there:
            self.free.append(bool(kwargs.get("non_blocking")))
        return func(*args, **kwargs)


def test_views_are_made_on_the_images_device_without_waiting(make_cfg) -> None:
    views = entries(make_cfg, {"equalization": {"prob": 0.5}})
    # reading a value of this device, or a shape that depends on one, is an error
    images = colour_images(40).to("meta")
    with Copies() as copies:
        made = BatchedViews(views, MEAN, STD, seed=0)(images)
    assert [(view.device.type, tuple(view.shape)) for view in made] == 2 * [("meta", (40, 3, 16, 16))]
    assert len(copies.free) > 20
    assert all(copies.free)


@pytest.mark.parametrize("kind", ["digits", "cifar10", "folders", "h5"])
def test_memory_holds_the_data_set(tmp_path: Path, kind: str) -> None:
    if kind == "cifar10":
        write_cifar10(tmp_path, 5, seed=0)
        cfg = {"dataset": "cifar10", "train_path": tmp_path}
    elif kind == "folders":
        write_class_folders(tmp_path, {"a": 4, "b": 3})
        cfg = {"dataset": "custom", "train_path": tmp_path}
    elif kind == "h5":
        write_h5(tmp_path / "a.h5", {"a": 4, "b": 3})
        cfg = {"dataset": "custom", "train_path": tmp_path / "a.h5", "format": "h5"}
    else:
        cfg = {"dataset": "digits", "max_images": 20}
    dataset = open_split(cfg, "train")
    images = MemoryImages(dataset)
    sampler = DistributedSampler(images, num_replicas=2, rank=1, shuffle=True, seed=3)
    seen = []
    for indices, batch, labels in DataLoader(images, batch_size=3, sampler=sampler, collate_fn=as_is):
        assert batch.dtype == torch.uint8 and labels.dtype == torch.int64
        for index, image, label in zip(indices.tolist(), batch, labels.tolist(), strict=True):
            expected, expected_label = dataset[index]
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(expected)) and label == expected_label
            seen.append(index)
    assert seen == list(sampler)
    index, image, label = images[2]
    assert int(index) == 2 and image.shape == images.images.shape[1:] and int(label) == dataset.labels[2]


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 3})
    Image.new("RGB", (7, 9)).save(tmp_path / "a" / "z.png")
    with refused(
        r"data\.augment: found 'batched', but a/z\.png has 7 x 9 px .*; accepted: stock, or images of one"
    ):
        MemoryImages(open_split({"dataset": "custom", "train_path": tmp_path}, "train"))


def test_more_images_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMORY_SHARE", 1e-9)
    with refused(
        r"data\.augment: found 'batched' and 1437 images of 8 x 8 px, 0\.0 GiB; accepted: stock, or at"
    ):
        MemoryImages(open_split({"dataset": "digits"}, "train"))
