from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from cifar_files import digits_rgb, python2_pickle, write_cifar10, write_cifar100
from data_files import FileServer, refused

from solo_intl.data import count_classes, open_split

WRITE = {"cifar10": write_cifar10, "cifar100": write_cifar100}


def _cfg(name: str, root: Path, **more: object) -> dict[str, object]:
    return {"dataset": name, "train_path": str(root), "download": False, **more}


def _torchvisions_own(name: str, root: Path, train: bool) -> torchvision.datasets.CIFAR10:
    """torchvision's reader, without the checksums of the genuine files."""
    base = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]

    class Unchecked(base):  # type: ignore[valid-type, misc]
        meta = {**base.meta, "md5": None}

        def _check_integrity(self) -> bool:
            return True

    return Unchecked(str(root), train=train)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_reads_what_torchvision_reads(tmp_path: Path, name: str, split: str) -> None:
    WRITE[name](tmp_path, 20, seed=0)
    ours, theirs = (
        open_split(_cfg(name, tmp_path), split),
        _torchvisions_own(name, tmp_path, split == "train"),
    )
    assert len(ours) == len(theirs) == (100 if split == "train" else 20)
    assert ours.labels == theirs.targets and ours.classes == theirs.classes
    for i in range(len(ours)):
        assert np.array_equal(np.asarray(ours[i][0]), np.asarray(theirs[i][0]))
    assert ours[0][0].mode == "RGB" and ours.names[7] == f"{split}/00007"


def test_the_pixels_are_the_digits_written(tmp_path: Path) -> None:
    write_cifar10(tmp_path, 20, seed=5)
    images, labels = digits_rgb(120, seed=5)
    train = open_split(_cfg("cifar10", tmp_path), "train")
    assert train.labels == labels[:100].tolist()
    assert np.array_equal(np.asarray(train[42][0]), images[42])


def test_a_python_3_pickle_is_read_too_and_the_folder_itself_may_be_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, 10, seed=0)
    images, _ = digits_rgb(10, seed=9)
    for protocol in (2, 4):
        content = {"data": images.transpose(0, 3, 1, 2).reshape(10, -1), "labels": list(range(10))}
        (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
        val = open_split(_cfg("cifar10", folder), "val")
        assert val.labels == list(range(10))
        assert np.array_equal(np.asarray(val[3][0]), images[3])


def test_val_path_is_read_for_the_validation_split(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "a", 10, seed=0)
    write_cifar10(tmp_path / "b", 20, seed=0)
    cfg = _cfg("cifar10", tmp_path / "a", val_path=tmp_path / "b")
    assert (len(open_split(cfg, "train")), len(open_split(cfg, "val"))) == (50, 20)


def test_classes_come_from_the_table(tmp_path: Path) -> None:
    assert count_classes(_cfg("cifar10", tmp_path / "none")) == 10
    assert count_classes(_cfg("cifar100", tmp_path / "none")) == 100


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_files_name_the_key_the_folder_and_the_cure(tmp_path: Path, name: str) -> None:
    folder = tmp_path / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    with refused(
        rf"^data\.train_path: {name} not found, looked for {folder} .*get it: unpack https://.*tar\.gz"
    ):
        open_split(_cfg(name, tmp_path), "train")
    with refused(rf"^data\.val_path: {name} not found, looked for {tmp_path}/v/"):
        open_split(_cfg(name, tmp_path, val_path=tmp_path / "v"), "val")


def test_one_missing_batch_is_a_missing_data_set(tmp_path: Path) -> None:
    (write_cifar10(tmp_path, 10, seed=0) / "data_batch_4").unlink()
    with refused("cifar10 not found"):
        open_split(_cfg("cifar10", tmp_path), "train")


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, 10, seed=0)
    (folder / "test_batch").write_bytes(pickle.dumps(_Attack(tmp_path / "ran"), 2))
    with refused(r"test_batch: truncated or not a CIFAR file \(\w+\.mkdir is not part of a CIFAR file\)"):
        open_split(_cfg("cifar10", tmp_path), "val")
    assert not (tmp_path / "ran").exists()


def _rows(count: int, width: int = 3072) -> np.ndarray:
    return np.zeros((count, width), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [0]}, r"found keys \['labels'\], accepted: data and labels"),
        ({"data": _rows(2), "fine_labels": [0, 1]}, "accepted: data and labels"),
        ({"data": _rows(2, 784), "labels": [0, 1]}, r"found data uint8 \[2, 784\] and 2 labels"),
        ({"data": _rows(2).astype(float), "labels": [0, 1]}, "found data float64"),
        ({"data": _rows(2), "labels": [0]}, "and 1 labels, accepted"),
        ({"data": _rows(2), "labels": [0, 10]}, "whole numbers from 0 to 9"),
        ({"data": _rows(2), "labels": [0, -1]}, "whole numbers from 0 to 9"),
        ({"data": _rows(0), "labels": []}, "whole numbers from 0 to 9"),
        ([1, 2], "found a list, accepted: a CIFAR file's dictionary"),
    ],
)
def test_a_batch_of_another_structure_is_refused(tmp_path: Path, content: object, message: str) -> None:
    folder = write_cifar10(tmp_path, 10, seed=0)
    (folder / "test_batch").write_bytes(python2_pickle(content))
    with refused(rf"{folder}/test_batch: .*{message}"):
        open_split(_cfg("cifar10", tmp_path), "val")


def test_a_truncated_batch_and_a_bad_meta_file_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, 10, seed=0)
    whole = (folder / "data_batch_2").read_bytes()
    (folder / "data_batch_2").write_bytes(whole[: len(whole) // 2])
    with refused("data_batch_2: truncated or not a CIFAR file"):
        open_split(_cfg("cifar10", tmp_path), "train")
    (folder / "batches.meta").write_bytes(python2_pickle({"names": []}))
    with refused(r"batches\.meta: found keys \['names'\], accepted: label_names"):
        open_split(_cfg("cifar10", tmp_path), "val")


def _offer(server: FileServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    server.files["/cifar-10-python.tar.gz"] = buffer.getvalue()
    official = torchvision.datasets.CIFAR10
    monkeypatch.setattr(official, "url", f"{server.url}/cifar-10-python.tar.gz")
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5(buffer.getvalue()).hexdigest())


def test_download_leaves_the_unpacked_folder_alone(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _offer(server, monkeypatch, write_cifar10(tmp_path / "there", 10, seed=0))
    cfg = {"dataset": "cifar10", "train_path": str(tmp_path / "here")}
    assert len(open_split(cfg, "train")) == 50
    assert len(open_split(cfg, "val")) == 10
    assert server.asked == ["/cifar-10-python.tar.gz"]
    assert [entry.name for entry in (tmp_path / "here").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("fault", ["cut", "absent", "other"])
def test_a_failed_download_leaves_nothing_and_prints_no_traceback(
    tmp_path: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    fault: str,
) -> None:
    _offer(server, monkeypatch, write_cifar10(tmp_path / "there", 10, seed=0))
    path = "/cifar-10-python.tar.gz"
    if fault == "cut":
        server.cut.add(path)
    elif fault == "absent":
        del server.files[path]
    else:
        server.files[path] = b"a sign-in page"
    here = tmp_path / "here"
    here.mkdir()
    with refused(rf"^data\.train_path: cifar10 not found, .*download failed: {server.url}.*get it: unpack"):
        open_split({"dataset": "cifar10", "train_path": str(here)}, "train")
    assert list(here.iterdir()) == []
    assert "Traceback" not in "".join(capfd.readouterr())
