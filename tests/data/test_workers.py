"""Every kind of source must give the same images from worker processes, forked or spawned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cifar_files import write_cifar10
from data_files import write_class_folders, write_h5
from torch.utils.data import ConcatDataset, DataLoader

from solo_intl.data import WithIndex, open_split
from solo_intl.host import build_views


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_same_from_two_workers(tmp_path: Path, start: str) -> None:
    write_cifar10(tmp_path, 5, seed=0)
    write_class_folders(tmp_path / "folders", {"a": 6, "b": 6})
    write_h5(tmp_path / "a.h5", {"a": 6, "b": 6})
    # numpy's conversion as the transform: spawned workers then need no torchvision, which takes seconds.
    everything = ConcatDataset(
        [
            WithIndex(open_split(cfg, "train", np.asarray))
            for cfg in (
                {"dataset": "digits", "max_images": 20},
                {"dataset": "cifar10", "train_path": tmp_path},
                {"dataset": "custom", "train_path": tmp_path / "folders"},
                {"dataset": "custom", "train_path": tmp_path / "a.h5", "format": "h5"},
            )
        ]
    )
    # Read here first: a file handle opened before the workers start must not be shared with them.
    here = [everything[i] for i in range(len(everything))]
    loader = DataLoader(everything, 4, num_workers=2, multiprocessing_context=start, collate_fn=list)
    there = [item for batch in loader for item in batch]
    assert len(there) == len(here) == 69
    for (index, image, label), (index_here, image_here, label_here) in zip(there, here, strict=True):
        assert (index, label) == (index_here, label_here)
        assert np.array_equal(image, image_here)


def test_solo_learns_views_from_a_spawned_worker(make_cfg) -> None:
    # where processes are spawned (macOS, Windows), the worker starts without anything that imports 1.0.2
    views = build_views(list(make_cfg().augmentations), (0.5,) * 3, (0.5,) * 3)
    train = WithIndex(open_split({"dataset": "digits", "max_images": 4}, "train", views))
    (batch,) = DataLoader(train, 4, num_workers=1, multiprocessing_context="spawn")
    indices, images, _ = batch
    assert indices.tolist() == [0, 1, 2, 3]
    assert [tuple(view.shape) for view in images] == [(4, 3, 16, 16)] * 2
