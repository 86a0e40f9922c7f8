from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar_files import write_cifar10, write_cifar100
from data_files import refused, write_class_folders, write_h5, write_idx

from solo_intl.data import open_split


def _digits(root: Path) -> dict[str, object]:
    return {"dataset": "digits"}


def _fashion(root: Path) -> dict[str, object]:
    write_idx(root, gz=True, counts=(100, 20))
    return {"dataset": "fashion_mnist", "train_path": root}


def _cifar10(root: Path) -> dict[str, object]:
    write_cifar10(root, 20, seed=0)
    return {"dataset": "cifar10", "train_path": root}


def _cifar100(root: Path) -> dict[str, object]:
    write_cifar100(root, 20, seed=0)
    return {"dataset": "cifar100", "train_path": root}


def _folders(root: Path) -> dict[str, object]:
    write_class_folders(root, {"a": 40, "b": 40, "c": 20})
    return {"dataset": "custom", "train_path": root}


def _h5(root: Path) -> dict[str, object]:
    write_h5(root / "a.h5", {"a": 40, "b": 40, "c": 20})
    return {"dataset": "imagenet100", "train_path": root / "a.h5", "format": "h5"}


SOURCES = [_digits, _fashion, _cifar10, _cifar100, _folders, _h5]


@pytest.mark.parametrize("source", SOURCES)
def test_a_fraction_keeps_each_class_s_share(
    tmp_path: Path, source: Callable[[Path], dict[str, object]]
) -> None:
    cfg = source(tmp_path)
    whole, half = open_split(cfg, "train"), open_split({**cfg, "fraction": 0.5}, "train")
    assert len(half) == round(0.5 * len(whole))
    everything = np.bincount(whole.labels)
    assert np.abs(np.bincount(half.labels, minlength=len(everything)) - 0.5 * everything).max() < 1
    assert len(set(half.names)) == len(half) and set(half.names) < set(whole.names)
    at = whole.names.index(half.names[-1])
    assert whole.labels[at] == half.labels[-1] and whole[at][0].tobytes() == half[-1][0].tobytes()
    assert half.classes == whole.classes


@pytest.mark.parametrize("source", SOURCES)
def test_max_images_is_exact_and_even(tmp_path: Path, source: Callable[[Path], dict[str, object]]) -> None:
    cfg = source(tmp_path)
    n_classes = len(np.unique(open_split(cfg, "train").labels))
    for count in (37, 3):
        some = open_split({**cfg, "max_images": count}, "train")
        assert len(some) == len(some.labels) == len(some.names) == count
        sizes = np.unique(some.labels, return_counts=True)[1]
        assert sizes.max() - sizes.min() <= 1
        assert len(sizes) == min(n_classes, count)


def test_small_classes_are_taken_whole_and_the_others_share_the_rest(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 50, "b": 4, "c": 50})
    some = open_split({"dataset": "custom", "train_path": tmp_path, "max_images": 44}, "train")
    assert np.bincount(some.labels).tolist() == [20, 4, 20]
    whole = open_split({"dataset": "custom", "train_path": tmp_path, "max_images": 104}, "train")
    assert np.bincount(whole.labels).tolist() == [50, 4, 50]


def test_the_seed_decides_and_subsets_of_one_seed_nest() -> None:
    def names(**more: object) -> list[str]:
        return open_split({"dataset": "digits", **more}, "train").names

    assert names(max_images=50) == names(max_images=50) == names(max_images=50, subset_seed=0)
    assert names(max_images=50) != names(max_images=50, subset_seed=1)
    assert names(fraction=0.1) != names(fraction=0.1, subset_seed=1)
    assert set(names(max_images=53)) < set(names(max_images=110))
    # Not simply the first of each class.
    assert max(int(name.partition("/")[2]) for name in names(max_images=50)) > 1000


@pytest.mark.parametrize("smaller", [{"fraction": 0.5}, {"max_images": 20}])
def test_the_validation_split_stays_whole(smaller: dict[str, object]) -> None:
    assert len(open_split({"dataset": "digits", **smaller}, "val")) == 360


@pytest.mark.parametrize(("smaller", "count"), [({"fraction": 0.25}, 10), ({"max_images": 13}, 13)])
def test_without_labels_it_is_a_plain_sample(tmp_path: Path, smaller: dict[str, object], count: int) -> None:
    write_class_folders(tmp_path, {"a": 20, "b": 20})
    cfg = {"dataset": "custom", "train_path": tmp_path, "no_labels": True, **smaller}
    some = open_split(cfg, "train")
    assert len(some) == count and some.labels == [-1] * count
    assert some.names == sorted(some.names)
    assert some.names != open_split({**cfg, "subset_seed": 7}, "train").names


def test_minus_one_and_none_keep_everything() -> None:
    for fraction in (-1, -1.0, None):
        for max_images in (-1, None):
            cfg = {"dataset": "digits", "fraction": fraction, "max_images": max_images}
            assert len(open_split(cfg, "train")) == 1437
    assert len(open_split({"dataset": "digits", "fraction": 0.5, "max_images": -1}, "train")) == 718
    assert len(open_split({"dataset": "digits", "fraction": -1, "max_images": 30}, "train")) == 30


def test_more_than_there_are(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 3})
    with refused(r"data\.max_images: found 4, accepted: 1 to 3 \(all there are\)"):
        open_split({"dataset": "custom", "train_path": tmp_path, "max_images": 4}, "train")


@pytest.mark.parametrize("lines", [["b/002.png", "a/001.png"], ["b_2.png", "a_1.png"]])
def test_a_list_keeps_the_images_it_names(tmp_path: Path, lines: list[str]) -> None:
    root = write_class_folders(tmp_path / "train", {"a": 5, "b": 5})
    if "b_2.png" in lines:  # as in ImageNet, whose file names are unique
        (root / "b" / "002.png").rename(root / "b" / "b_2.png")
        (root / "a" / "001.png").rename(root / "a" / "a_1.png")
    file = tmp_path / "list.txt"
    file.write_text("\r\n".join([*lines, "", ""]))
    cfg = {"dataset": "custom", "train_path": root, "val_path": root, "subset_file": str(file)}
    some = open_split(cfg, "train")
    assert [name.rpartition("/")[2] for name in some.names] == [
        line.rpartition("/")[2] for line in lines[::-1]
    ]
    assert [some.classes[label] for label in some.labels] == ["a", "b"]
    assert len(open_split(cfg, "val")) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "found '' in .*list.txt, no name at all"),
        (b"train/00001\ncat.png\ndog.png", r"found 'cat.png' in .*, not in data.train_path \(2 such\)"),
        (b"00001\ntrain/00001", r"found '00001' in .*, listed twice \(2 such\)"),
        (b"\xff\xfe", r"can't read .*list.txt \(no UTF-8 text\)"),
        (None, r"can't read .*list.txt \(No such file or directory\)"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with refused(f"data.subset_file: {message}"):
        open_split({"dataset": "digits", "subset_file": tmp_path / "list.txt"}, "train")


def test_a_file_name_of_several_images_is_refused(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "train", {"a": 2, "b": 1})
    (tmp_path / "list.txt").write_text("001.png\n000.png\n")
    with refused("found '000.png' in .*, the name of several images"):
        open_split({"dataset": "custom", "train_path": root, "subset_file": tmp_path / "list.txt"}, "train")


def test_one_way_to_say_a_subset(tmp_path: Path) -> None:
    with refused("data.fraction, data.subset_file: found 0.1 and list.txt, accepted: one of them"):
        open_split({"dataset": "digits", "fraction": 0.1, "subset_file": "list.txt"}, "train")
