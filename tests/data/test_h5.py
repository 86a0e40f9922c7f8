from __future__ import annotations

import multiprocessing
import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from data_files import refused, write_h5

from solo_intl.data import count_classes, open_split


def _cfg(path: Path, dataset: str = "custom", **more: object) -> dict[str, object]:
    return {"dataset": dataset, "format": "h5", "train_path": str(path), **more}


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet100", "custom"])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    held = write_h5(tmp_path / "train.h5", {"n02": 3, "n01": 2})
    train = open_split(_cfg(tmp_path / "train.h5", dataset), "train")
    assert train.classes == ["n01", "n02"]
    assert train.names == ["n01/000.png", "n01/001.png", "n02/000.png", "n02/001.png", "n02/002.png"]
    assert train.labels == [0, 0, 1, 1, 1]
    for (image, _), name in zip((train[i] for i in range(5)), train.names, strict=True):
        assert np.array_equal(np.asarray(image), held[name])
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "train.h5"]


def test_classes_are_the_groups(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", {"x": 4, "y": 1, "z": 2})
    assert count_classes(_cfg(tmp_path / "a.h5")) == 3
    assert count_classes(_cfg(tmp_path / "a.h5", no_labels=True)) == 1
    unlabelled = open_split(_cfg(tmp_path / "a.h5", no_labels=True), "train")
    assert unlabelled.labels == [-1] * 7 and not unlabelled.has_labels


def test_validation_takes_its_class_numbers_from_training(tmp_path: Path) -> None:
    write_h5(tmp_path / "train.h5", {"x": 1, "y": 1, "z": 1})
    write_h5(tmp_path / "val.h5", {"x": 1, "z": 2})
    val = open_split(_cfg(tmp_path / "train.h5", val_path=str(tmp_path / "val.h5")), "val")
    assert val.labels == [0, 2, 2]


def test_the_handle_stays_in_its_process(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", {"x": 2})
    train = open_split(_cfg(tmp_path / "a.h5"), "train")
    assert train.source._file is None  # type: ignore[attr-defined]
    first = train[0][0].tobytes()
    copy = pickle.loads(pickle.dumps(train))
    assert copy.source._file is None
    assert copy[0][0].tobytes() == first


def test_a_fork_opens_the_file_for_itself(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", {"x": 2})
    train = open_split(_cfg(tmp_path / "a.h5"), "train")
    first = train[0][0].tobytes()
    ours = train.source._file  # type: ignore[attr-defined]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        pixels = train[0][0].tobytes()
        answers.put((pixels, train.source._file is ours))  # type: ignore[attr-defined]

    process = context.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert answers.get() == (first, False)


def test_bytes_stored_as_opaque_scalars(tmp_path: Path) -> None:
    held = write_h5(tmp_path / "a.h5", {"x": 1})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["x/scalar"] = np.void(file["x/000.png"][()].tobytes())
    train = open_split(_cfg(tmp_path / "a.h5"), "train")
    assert np.array_equal(np.asarray(train[1][0]), held["x/000.png"])


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("x")["bad.jpg"] = np.frombuffer(b"hello", np.uint8)
    with refused(rf"{tmp_path}/a\.h5:x/bad\.jpg: found bytes that don't decode"):
        open_split(_cfg(tmp_path / "a.h5"), "train")[0]


def test_files_that_are_not_in_the_layout(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["images"] = np.zeros((3, 8), np.uint8)
    with h5py.File(tmp_path / "hollow.h5", "w") as file:
        file.create_group("x")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file.create_group("train/n01")
    for name, message in (
        ("absent.h5", "found nothing at .*absent.h5, accepted: an HDF5 file"),
        ("text.h5", ".*text.h5 can't be read, accepted: a whole HDF5 file"),
        ("flat.h5", "no groups in .*flat.h5, accepted: one group per class"),
        ("hollow.h5", "no images in .*hollow.h5, accepted: groups that hold one data set per image"),
        ("deep.h5", "found a group at train/n01 in .*deep.h5, accepted: encoded images"),
        (".", "found a folder at"),
    ):
        with refused(rf"^data\.train_path: {message}"):
            open_split(_cfg(tmp_path / name), "train")
    with refused(r"data\.val_path: found None, accepted: an HDF5 file for the validation split"):
        open_split(_cfg(tmp_path / "flat.h5"), "val")


def test_more_groups_than_the_data_set_has_classes(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", {f"n{i:03d}": 1 for i in range(101)})
    with refused("found 101 classes in .*, accepted: at most 100 for imagenet100"):
        open_split(_cfg(tmp_path / "a.h5", "imagenet100"), "train")


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_h5(tmp_path / "a.h5", {"x": 1})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with refused(r"data\.format: found 'h5', which needs h5py: pip install h5py"):
        open_split(_cfg(tmp_path / "a.h5"), "train")
