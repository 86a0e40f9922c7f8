from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cifar_files import write_cifar10, write_cifar100
from data_files import FileServer, refused, write_class_folders, write_h5, write_idx

from solo_intl.data import DATASETS, describe


def _row(name: str, cfg: dict[str, Any] | None = None) -> dict[str, Any]:
    rows = describe(cfg)
    assert [row["name"] for row in rows] == list(DATASETS)
    return next(row for row in rows if row["name"] == name)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_system_files: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_on_a_bare_machine_only_the_digits_are_there(tmp_path: Path) -> None:
    rows = describe()
    assert [row["name"] for row in rows if row["found"]] == ["digits"]
    for row in rows:
        assert set(row) == {"name", "num_classes", "image_size", "found", "where", "train", "val", "get"}
        assert row["where"] and "\n" not in row["where"] and bool(row["get"]) is not row["found"]
    assert "dataset-fashion-mnist" in _row("fashion_mnist")["get"]
    assert "cifar-10-python.tar.gz" in _row("cifar10")["get"]
    assert "data.train_path" in _row("imagenet")["get"]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_downloaded(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{server.url}/c")
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [f"{server.url}/"])
    describe()
    describe({"dataset": "cifar10", "download": True, "train_path": str(tmp_path / "x")})
    assert server.asked == [] and not (tmp_path / "x").exists()


def test_the_default_folder_is_looked_at(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "datasets", 10, seed=0)
    write_cifar100(tmp_path / "datasets", 10, seed=0)
    write_idx(tmp_path / "datasets", gz=True)
    found = {row["name"]: (row["train"], row["val"], row["where"]) for row in describe() if row["found"]}
    assert found == {
        "digits": (1437, 360, "scikit-learn"),
        "fashion_mnist": (60, 20, "datasets"),
        "cifar10": (50, 10, "datasets/cifar-10-batches-py"),
        "cifar100": (50, 10, "datasets/cifar-100-python"),
    }


def test_configured_paths(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "a", 10, seed=0)
    assert _row("cifar10", {"train_path": str(tmp_path / "a")})["found"]
    assert (
        _row("cifar10", {"dataset": "cifar10", "train_path": str(tmp_path / "a"), "fraction": 0.5})["train"]
        == 50
    )
    assert not _row("cifar10", {"dataset": "custom", "train_path": str(tmp_path / "a")})["found"]
    missing = _row("cifar10", {"train_path": str(tmp_path / "a"), "val_path": str(tmp_path / "b")})
    assert not missing["found"] and missing["where"] == f"not in {tmp_path}/b"


def test_own_images(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "t", {"a": 3, "b": 2})
    write_class_folders(tmp_path / "v", {"a": 1})
    cfg = {"dataset": "custom", "train_path": str(tmp_path / "t")}
    row = _row("custom", cfg)
    assert (row["found"], row["train"], row["val"], row["where"]) == (True, 5, None, str(tmp_path / "t"))
    row = _row("custom", {**cfg, "val_path": str(tmp_path / "v")})
    assert (row["train"], row["val"]) == (5, 1)
    assert not _row("custom", {"train_path": str(tmp_path / "t")})["found"]
    row = _row("imagenet", {**cfg, "dataset": "imagenet"})
    assert (row["found"], row["train"]) == (True, None)
    write_h5(tmp_path / "a.h5", {"a": 4})
    assert (
        _row("custom", {"dataset": "custom", "train_path": str(tmp_path / "a.h5"), "format": "h5"})["train"]
        == 4
    )


def test_what_stands_in_the_way_is_told(tmp_path: Path) -> None:
    cfg = {"dataset": "custom", "train_path": str(tmp_path / "none")}
    assert _row("custom", cfg)["where"] == f"data.train_path: {tmp_path}/none doesn't exist"
    folder = write_cifar10(tmp_path / "datasets", 10, seed=0)
    (folder / "test_batch").write_bytes(b"cut")
    row = _row("cifar10")
    assert not row["found"] and "test_batch: truncated or not a CIFAR file" in row["where"]
    with refused(r"data\.dataset: found 'cifar11'"):
        describe({"dataset": "cifar11"})
