from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from solo_intl.data import DATASETS, WithIndex, open_split

CFG = {"dataset": "digits"}


def _pixels(split: str) -> np.ndarray:
    return np.stack([np.asarray(image)[..., 0] for image, _ in open_split(CFG, split)])


def test_the_two_splits_are_the_1797_scans_each_once() -> None:
    both = np.concatenate([_pixels("train"), _pixels("val")])
    scans = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    assert both.shape == (1797, 8, 8)
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in scans)


def test_sizes_and_stratification() -> None:
    train, val = open_split(CFG, "train"), open_split(CFG, "val")
    assert (len(train), len(val)) == (1437, 360)
    everything = np.bincount(load_digits().target)
    for split, share in ((train, 0.8), (val, 0.2)):
        assert np.abs(np.bincount(split.labels) - share * everything).max() <= 1


def test_the_split_is_the_stated_one_every_time() -> None:
    val = open_split(CFG, "val")
    # train_test_split(test_size=0.2, random_state=0, stratify=target) on scikit-learn 1.x
    assert val.labels[:12] == open_split(CFG, "val").labels[:12] == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3, 2, 6]


def test_an_item() -> None:
    train = open_split(CFG, "train")
    image, label = train[12]
    assert (image.mode, image.size) == ("RGB", (8, 8))
    assert type(label) is int and label == train.labels[12]
    assert train.names[12] == "train/00012"
    assert train.classes == [str(i) for i in range(10)] and train.has_labels
    assert {0, 255} <= set(np.unique(_pixels("train")))


def test_the_transform_is_applied_and_the_index_goes_in_front() -> None:
    train = open_split(CFG, "train", transform=lambda image: image.size)
    assert train[5] == ((8, 8), train.labels[5])
    indexed = WithIndex(train)
    assert indexed[5] == (5, (8, 8), train.labels[5])
    assert len(indexed) == len(train)


def test_statistics_are_those_of_the_training_split() -> None:
    pixels, info = _pixels("train") / 255, DATASETS["digits"]
    assert info.mean == (round(pixels.mean(), 4),) * 3
    assert info.std == (round(pixels.std(), 4),) * 3
