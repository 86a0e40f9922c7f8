from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torchvision
from data_files import FileServer, idx_bytes, refused, write_idx

from solo_intl.data import DATASETS, open_split
from solo_intl.data.sources import fashion_mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def _cfg(root: Path, **more: object) -> dict[str, object]:
    return {"dataset": "fashion_mnist", "train_path": str(root), "download": False, **more}


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_reads_each_layout(tmp_path: Path, no_system_files: Path, gz: bool, layout: str) -> None:
    held = write_idx(tmp_path / layout, gz=gz)
    for split, prefix, count in (("train", "train", 60), ("val", "t10k", 20)):
        opened = open_split(_cfg(tmp_path), split)
        assert len(opened) == count
        assert opened.labels == held[f"{prefix}-labels-idx1-ubyte"].tolist()
        assert opened.names[3] == f"{split}/00003"
        for i in (0, count - 1):
            image, _ = opened[i]
            assert image.mode == "RGB"
            assert np.array_equal(np.asarray(image)[..., 1], held[f"{prefix}-images-idx3-ubyte"][i])
    assert opened.classes[9] == "Ankle boot"


def test_the_configured_path_comes_before_the_system_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "system", gz=True, counts=(40, 30))
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    assert len(open_split(_cfg(tmp_path / "mine"), "train")) == 40
    write_idx(tmp_path / "mine", gz=False, counts=(50, 10))
    assert len(open_split(_cfg(tmp_path / "mine"), "train")) == 50


def test_val_path_comes_before_train_path(tmp_path: Path, no_system_files: Path) -> None:
    write_idx(tmp_path / "a", gz=True, counts=(20, 10))
    assert len(open_split(_cfg(tmp_path / "a", val_path=tmp_path / "b"), "val")) == 10
    write_idx(tmp_path / "b", gz=True, counts=(20, 30))
    assert len(open_split(_cfg(tmp_path / "a", val_path=tmp_path / "b"), "val")) == 30


def _damage(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_a_file_cut_short_is_named(tmp_path: Path, no_system_files: Path) -> None:
    held = write_idx(tmp_path, gz=False)
    whole = idx_bytes(held[IMAGES])
    (tmp_path / IMAGES).write_bytes(whole[:-7])
    with refused(
        rf"{IMAGES}: found {60 * 784 - 7} bytes of data, accepted: the {60 * 784} its header states"
    ):
        open_split(_cfg(tmp_path), "train")
    (tmp_path / IMAGES).write_bytes(whole + b"\0")
    with refused(rf"{IMAGES}: found {60 * 784 + 1} bytes"):
        open_split(_cfg(tmp_path), "train")


@pytest.mark.parametrize("keep", [0.5, 0.001])
def test_a_gzip_file_cut_short_is_named(tmp_path: Path, no_system_files: Path, keep: float) -> None:
    write_idx(tmp_path, gz=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[: max(4, int(path.stat().st_size * keep))])
    with refused(rf"{IMAGES}\.gz: truncated or damaged"):
        open_split(_cfg(tmp_path), "train")


def test_a_file_that_is_no_gzip_is_named(tmp_path: Path, no_system_files: Path) -> None:
    write_idx(tmp_path, gz=True)
    (tmp_path / f"{IMAGES}.gz").write_bytes(b"<html>404</html>")
    with refused(rf"{IMAGES}\.gz: truncated or damaged"):
        open_split(_cfg(tmp_path), "train")


def test_another_magic_number_is_refused(tmp_path: Path, no_system_files: Path) -> None:
    held = write_idx(tmp_path, gz=True)
    _damage(tmp_path / f"{IMAGES}.gz", idx_bytes(held[LABELS]) + b"\0" * 16)
    with refused(rf"{IMAGES}\.gz: found a header 00000801, accepted: 00000803"):
        open_split(_cfg(tmp_path), "train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(59, np.uint8), "found 59 labels, accepted: 60, one per image"),
        (np.full(60, 10, np.uint8), "found a label 10, accepted: labels 0 to 9"),
    ],
)
def test_labels_must_belong_to_the_images(
    tmp_path: Path, no_system_files: Path, labels: np.ndarray, message: str
) -> None:
    write_idx(tmp_path, gz=True)
    _damage(tmp_path / f"{LABELS}.gz", idx_bytes(labels))
    with refused(rf"{LABELS}\.gz: {message}"):
        open_split(_cfg(tmp_path), "train")


def test_images_of_another_size_are_refused(tmp_path: Path, no_system_files: Path) -> None:
    write_idx(tmp_path, gz=False)
    _damage(tmp_path / IMAGES, idx_bytes(np.zeros((60, 32, 32), np.uint8)))
    with refused(r"found images of \(32, 32\) pixels, accepted: \(28, 28\)"):
        open_split(_cfg(tmp_path), "train")


def test_missing_everywhere_names_every_place_and_the_cure(tmp_path: Path, no_system_files: Path) -> None:
    with refused(
        rf"data\.train_path: Fashion-MNIST not found, looked for {IMAGES}\[\.gz\] and {LABELS}\[\.gz\] in "
        rf"{tmp_path}, {tmp_path}/FashionMNIST/raw, {no_system_files} \(data\.download is false\); "
        "get it: apt-get install dataset-fashion-mnist, or"
    ):
        open_split(_cfg(tmp_path), "train")


def _offer(server: FileServer, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    """Let torchvision's addresses point at this machine."""
    resources = []
    for file in sorted(source.iterdir()):
        server.files[f"/{file.name}"] = file.read_bytes()
        resources.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [f"{server.url}/"])
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)


def test_download_fills_torchvisions_folder_once(
    tmp_path: Path, no_system_files: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "there", gz=True)
    _offer(server, monkeypatch, tmp_path / "there")
    here = tmp_path / "new" / "here"
    assert len(open_split(_cfg(here, download=True), "train")) == 60
    assert len(open_split(_cfg(here, download=True), "val")) == 20
    assert len(server.asked) == 4
    assert len(list((here / "FashionMNIST" / "raw").iterdir())) == 4
    assert [entry.name for entry in here.iterdir()] == ["FashionMNIST"]


@pytest.mark.parametrize("fault", ["cut", "absent"])
def test_a_failed_download_leaves_nothing(
    tmp_path: Path, no_system_files: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    write_idx(tmp_path / "there", gz=True)
    _offer(server, monkeypatch, tmp_path / "there")
    last = f"/{LABELS}.gz"
    if fault == "cut":
        server.cut.add(last)
    else:
        del server.files[last]
    with refused(rf"download failed: {server.url}{last}: .*apt-get install dataset-fashion-mnist"):
        open_split(_cfg(tmp_path / "new" / "here", download=True), "train")
    assert not (tmp_path / "new").exists()


def test_download_is_the_default(
    tmp_path: Path, no_system_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with refused("download failed: .*Connection refused"):
        open_split({"dataset": "fashion_mnist", "train_path": tmp_path}, "train")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, no_system_files: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with refused("download failed: .*can't be written"):
        open_split(_cfg(tmp_path / "file" / "sub", download=True), "train")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_real_thing(tmp_path: Path) -> None:
    train, val = (open_split(_cfg(tmp_path), split) for split in ("train", "val"))
    assert (len(train), len(val)) == (60_000, 10_000)
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(val.labels).tolist() == [1000] * 10
    assert train.classes[train.labels[0]] == "Ankle boot"
    pixels, info = train.source.images, DATASETS["fashion_mnist"]
    mean = pixels.mean(dtype=np.float64) / 255
    # From a histogram: exact, and without 47 million floats.
    counts = np.bincount(pixels.ravel(), minlength=256)
    std = np.sqrt((counts * (np.arange(256) / 255 - mean) ** 2).sum() / counts.sum())
    assert info.mean == (round(mean, 4),) * 3
    assert info.std == (round(std, 4),) * 3
