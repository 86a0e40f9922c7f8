"""Every kind of source must give the same images from worker processes, forked or spawned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cifar_files import write_cifar10
from data_files import write_class_folders, write_h5
from torch.utils.data import ConcatDataset, DataLoader

from solo_intl.data import WithIndex, eval_transform, open_split


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_same_from_two_workers(tmp_path: Path, start: str) -> None:
    write_cifar10(tmp_path, 5, seed=0)
    write_class_folders(tmp_path / "folders", {"a": 6, "b": 6})
    write_h5(tmp_path / "a.h5", {"a": 6, "b": 6})
    transform = eval_transform(16, (0.5,) * 3, (0.5,) * 3)
    everything = ConcatDataset(
        [
            WithIndex(open_split(cfg, "train", transform))
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
    batches = list(DataLoader(everything, batch_size=4, num_workers=2, multiprocessing_context=start))
    indices, images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert indices.tolist() == [index for index, _, _ in here]
    assert labels.tolist() == [label for _, _, label in here]
    assert torch.equal(images, torch.stack([image for _, image, _ in here]))
