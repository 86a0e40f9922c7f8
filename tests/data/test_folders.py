from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from cifar_files import digits_rgb
from data_files import encoded, refused, write_class_folders
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from solo_intl.data import count_classes, open_split
from solo_intl.data.sources import folder


def _cfg(root: Path | None, **more: object) -> dict[str, object]:
    return {"dataset": "custom", "train_path": root and str(root), **more}


def test_class_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"zero": 3, "one": 2})
    train = open_split(_cfg(tmp_path), "train")
    assert train.classes == ["one", "zero"] and train.has_labels
    assert train.names == ["one/000.png", "one/001.png", "zero/000.png", "zero/001.png", "zero/002.png"]
    assert train.labels == [0, 0, 1, 1, 1]
    image, label = train[2]
    assert label == 1 and image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(tmp_path / "zero" / "000.png")))


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 2, "b": 1})
    write_class_folders(tmp_path / "b", {"deeper": 1})
    for name in ("notes.txt", "a/labels.csv", "a/.hidden.png", ".DS_Store", "b/Thumbs.db"):
        (tmp_path / name).write_bytes(b"no image")
    for name in ("empty", "only_text", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "only_text" / "readme.md").write_text("none here")
    (tmp_path / ".git" / "x.png").write_bytes(b"no image")
    (tmp_path / "a" / "UPPER.PNG").write_bytes((tmp_path / "a" / "000.png").read_bytes())
    train = open_split(_cfg(tmp_path), "train")
    assert train.classes == ["a", "b"]
    assert train.names == ["a/000.png", "a/001.png", "a/UPPER.PNG", "b/000.png", "b/deeper/000.png"]
    assert count_classes(_cfg(tmp_path)) == 2


def test_the_extensions_are_image_folders() -> None:
    assert folder.IMG_EXTENSIONS == IMG_EXTENSIONS


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "store", {"a": 1, "b": 2})
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "b").symlink_to(tmp_path / "store" / "b", target_is_directory=True)
    assert open_split(_cfg(tmp_path / "few"), "train").names == ["b/000.png", "b/001.png"]


def test_a_link_back_to_its_own_folder_is_not_followed(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1, "b": 1})

    def link(place: str, target: str) -> None:
        (tmp_path / place).symlink_to(tmp_path / target, target_is_directory=True)

    link("again", ".")
    link("a/self", "a")
    for no_labels in (False, True):
        alone = open_split(_cfg(tmp_path, no_labels=no_labels), "train")
        assert alone.names == ["a/000.png", "b/000.png"]
    # Followed, the loops so far would give each image tens of times, and these two more would never end.
    link("b/up", ".")
    link("a/other", "b")
    train = open_split(_cfg(tmp_path), "train")
    # A link to another class's folder is no loop, only the way back from there is.
    assert train.names == ["a/000.png", "a/other/000.png", "b/000.png"] and train.classes == ["a", "b"]
    everything = open_split(_cfg(tmp_path, no_labels=True), "train")
    assert everything.names == train.names and not everything.has_labels


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "tidy", {"a": 1, "b": 2})
    write_class_folders(tmp_path / "mixed", {".": 3, "a": 1, "b": 2})
    (tmp_path / "mixed" / "c.txt").write_text("no image")
    (tmp_path / "mixed" / "empty").mkdir()
    message = (
        rf"found 3 image\(s\) beside 2 class folder\(s\) in {tmp_path}/mixed, accepted: class folders only, "
        r"or data\.no_labels=true to take everything without labels$"
    )
    cfg = _cfg(tmp_path / "mixed", val_path=str(tmp_path / "tidy"))
    for split in ("train", "val"):
        with refused(rf"^data\.train_path: {message}"):
            open_split(cfg, split)
    with refused(rf"^data\.train_path: {message}"):
        count_classes(cfg)
    with refused(rf"^data\.val_path: {message}"):
        open_split(_cfg(tmp_path / "tidy", val_path=str(tmp_path / "mixed")), "val")
    everything = open_split({**cfg, "no_labels": True}, "train")
    assert everything.names == ["000.png", "001.png", "002.png", "a/000.png", "b/000.png", "b/001.png"]
    # An ImageNet is always labelled: no_labels would be no way out there.
    assert len(open_split({**cfg, "dataset": "imagenet"}, "train")) == 3


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "all", {".": 1, "a": 1})
    files = folder.image_files(tmp_path / "all")
    assert next(files) == "000.png"
    shutil.rmtree(tmp_path / "all" / "a")
    with refused(
        rf"^{tmp_path}/all/a: can't be listed \(No such file or directory\), accepted: a readable folder$"
    ):
        list(files)
    with refused(r"^/x: can't be listed \(Permission denied\)"):
        folder.refuse_unlistable(PermissionError(errno.EACCES, "Permission denied", "/x"))


def test_no_labels_takes_every_image_in_order(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"b": 2, "a": 1})
    (tmp_path / "aa.png").write_bytes((tmp_path / "a" / "000.png").read_bytes())
    (tmp_path / "list.txt").write_text("no image")
    cfg = _cfg(tmp_path, no_labels=True)
    train = open_split(cfg, "train")
    assert train.names == ["a/000.png", "aa.png", "b/000.png", "b/001.png"]
    assert train.labels == [-1] * 4 and not train.has_labels and train.classes == []
    assert train[3][1] == -1
    assert count_classes(cfg) == 1


def test_a_flat_folder_is_seen_to_be_unlabelled(tmp_path: Path) -> None:
    images, _ = digits_rgb(12, seed=0, size=16)
    for i, image in enumerate(images):
        (tmp_path / f"{i:02d}.jpg").write_bytes(encoded(image, "JPEG"))
    (tmp_path / "empty").mkdir()
    train = open_split(_cfg(tmp_path), "train")
    assert len(train) == 12 and not train.has_labels
    # Neither the number of images nor of files: a classifier over those is solo-learn's issue 161.
    assert count_classes(_cfg(tmp_path)) == 1


def test_validation_takes_its_class_numbers_from_training(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    write_class_folders(tmp_path / "val", {"a": 1, "c": 2})
    val = open_split(_cfg(tmp_path / "train", val_path=tmp_path / "val"), "val")
    assert val.labels == [0, 2, 2] and val.classes == ["a", "b", "c"]
    alone = open_split(_cfg(None, val_path=tmp_path / "val"), "val")
    assert alone.labels == [0, 1, 1] and alone.classes == ["a", "c"]


def test_a_validation_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 1, "b": 1})
    write_class_folders(tmp_path / "val", {"a": 1, "z": 1})
    with refused(
        rf"data\.val_path: found class 'z' in {tmp_path}/val, accepted: the classes in data\.train_path"
    ):
        open_split(_cfg(tmp_path / "train", val_path=tmp_path / "val"), "val")


def test_flat_validation_beside_labelled_training_is_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 2, "b": 2})
    write_class_folders(tmp_path / "flat", {".": 3})
    cfg = _cfg(tmp_path / "train", val_path=str(tmp_path / "flat"))
    with refused(
        rf"^data\.val_path: found no class folders in {tmp_path}/flat, accepted: the classes of "
        r"data\.train_path$"
    ):
        open_split(cfg, "val")
    (tmp_path / "empty").mkdir()
    for train_path in (tmp_path / "train", tmp_path / "empty"):  # without labels, training doesn't matter
        unlabelled = {**cfg, "train_path": str(train_path), "no_labels": True}
        assert open_split(unlabelled, "val").labels == [-1] * 3
    both_flat = _cfg(tmp_path / "flat", val_path=str(tmp_path / "flat"))
    assert not open_split(both_flat, "val").has_labels


def test_labelled_validation_beside_unlabelled_training(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "flat", {".": 3})
    write_class_folders(tmp_path / "val", {"a": 1, "z": 1})
    val = open_split(_cfg(tmp_path / "flat", val_path=tmp_path / "val"), "val")
    assert val.labels == [0, 1]


@pytest.mark.parametrize("dataset", ["imagenet", "imagenet100", "custom"])
def test_missing_empty_and_misnamed_folders(tmp_path: Path, dataset: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.h5").write_bytes(b"")
    (tmp_path / "one.png").write_bytes(b"")
    for path, message in (
        ("absent", f"{tmp_path}/absent doesn't exist, accepted: a folder of images"),
        ("empty", rf"no images in {tmp_path}/empty, accepted: image files \(\.jpg, "),
        ("one.png", f"found the file {tmp_path}/one.png, accepted: a folder of images$"),
        ("data.h5", r".*data\.h5, accepted: a folder of images; for an HDF5 file set data\.format=h5"),
    ):
        cfg = {"dataset": dataset, "train_path": str(tmp_path / path), "val_path": str(tmp_path / path)}
        for split in ("train", "val"):
            with refused(rf"^data\.{split}_path: {message}"):
                open_split(cfg, split)


def test_validation_without_a_path_is_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1})
    with refused(r"data\.val_path: found None, accepted: a folder of images for the validation split"):
        open_split(_cfg(tmp_path), "val")


def test_the_default_training_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(r"data\.train_path: datasets doesn't exist"):
        open_split(_cfg(None), "train")
    write_class_folders(tmp_path / "datasets", {"a": 1})
    assert len(open_split(_cfg(None), "train")) == 1


def test_imagenet_needs_class_folders_and_no_more_than_it_has(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "flat", {".": 2})
    with refused("no class folders with images in .*flat, accepted: one folder per class"):
        open_split({"dataset": "imagenet", "train_path": tmp_path / "flat"}, "train")
    write_class_folders(tmp_path / "many", {f"n{i:03d}": 1 for i in range(101)})
    with refused("found 101 classes in .*many, accepted: at most 100 for imagenet100"):
        open_split({"dataset": "imagenet100", "train_path": tmp_path / "many"}, "train")
    some = open_split({"dataset": "imagenet", "train_path": tmp_path / "many"}, "train")
    assert len(some.classes) == 101
    # The flag is for custom only: elsewhere the labels are the data set's.
    cfg = {"dataset": "imagenet", "train_path": tmp_path / "many", "no_labels": True}
    assert open_split(cfg, "train").has_labels and count_classes(cfg) == 1000
