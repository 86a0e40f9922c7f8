from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from cifar_files import digits_rgb
from data_files import refused, write_class_folders
from PIL import Image
from torch.utils.data import DataLoader

from solo_intl.data import ImageReadError, eval_transform, open_split


def _cfg(root: Path) -> dict[str, object]:
    return {"dataset": "custom", "train_path": str(root)}


@pytest.mark.parametrize("damage", ["text", "truncated", "nothing"])
def test_an_image_that_does_not_decode_is_named(tmp_path: Path, damage: str) -> None:
    write_class_folders(tmp_path, {"a": 2})
    bad = tmp_path / "a" / "001.png"
    whole = bad.read_bytes()
    bad.write_bytes({"text": b"hello", "truncated": whole[: len(whole) // 2], "nothing": b""}[damage])
    train = open_split(_cfg(tmp_path), "train")
    assert train[0][0].size == (16, 16)
    with refused(f"^{bad}: found bytes that don't decode, accepted: a whole image file$"):
        train[1]


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1})
    train = open_split(_cfg(tmp_path), "train")
    (tmp_path / "a" / "000.png").unlink()
    with refused(rf"^{tmp_path}/a/000.png: can't be read \(No such file or directory\), accepted: a whole"):
        train[0]


def test_an_image_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path, {"a": 1})
    train = open_split(_cfg(tmp_path), "train")

    def denied(path: Path) -> None:  # permissions themselves mean nothing to root, who may run the tests
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", denied)
    with refused(rf"^{tmp_path}/a/000.png: can't be read \(Permission denied\)"):
        train[0]


def test_in_a_worker_too_the_error_is_one_line(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1})
    bad = tmp_path / "a" / "000.png"
    bad.write_bytes(b"hello")
    train = open_split(_cfg(tmp_path), "train", eval_transform(16, (0.5,) * 3, (0.5,) * 3))
    with refused(f"^{bad}: found bytes"):
        list(DataLoader(train, num_workers=1, multiprocessing_context="fork"))


def _sixteen_bits(path: Path) -> tuple[np.ndarray, str]:
    """Writes a digit in 16 bits; returns it in 8 and the mode that Pillow opens the file in."""
    grey = digits_rgb(1, seed=5, size=16)[0][0][..., 0]
    levels = grey.astype(np.uint16) * 257
    if path.name == "big_endian.tif":
        Image.frombytes("I;16B", (16, 16), levels.astype(">u2").tobytes()).save(path)
    elif path.suffix == ".pgm":
        path.write_bytes(b"P5 16 16 65535\n" + levels.astype(">u2").tobytes())
    else:
        Image.fromarray(levels).save(path)
    with Image.open(path) as image:
        return grey, image.mode


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "I;16"), ("a.tif", "I;16"), ("big_endian.tif", "I;16B"), ("a.pgm", "I")],
)
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, name: str, mode: str) -> None:
    grey, found = _sixteen_bits(tmp_path / name)
    assert found in (mode, "I") and len(np.unique(grey)) > 10
    image, _ = open_split(_cfg(tmp_path), "train")[0]
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bit_levels_are_rounded(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    image, _ = open_split(_cfg(tmp_path), "train")[0]
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]


def test_a_truncated_sixteen_bit_image_is_named(tmp_path: Path) -> None:
    _sixteen_bits(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:-100])
    with refused(f"^{tmp_path}/a.tif: found bytes that don't decode"):
        open_split(_cfg(tmp_path), "train")[0]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), 0.5, np.float32), r"floating-point pixels \(mode F\), accepted: 8 or 16 bits"),
        (np.full((4, 4), 65536, np.int32), "grey levels from 65536 to 65536, accepted: 0 to 65535"),
        (np.arange(-1, 3, dtype=np.int32).reshape(2, 2), "grey levels from -1 to 2, accepted: 0 to 65535"),
    ],
)
def test_pixels_without_a_fixed_range_are_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with refused(f"^{tmp_path}/a.tif: found {message}") as caught:
        open_split(_cfg(tmp_path), "train")[0]
    assert caught.type is ImageReadError


def test_grey_palette_and_transparent_images_come_out_rgb(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1})
    image = Image.open(tmp_path / "a" / "000.png")
    for i, mode in enumerate(("L", "P", "RGBA", "1")):
        image.convert(mode).save(tmp_path / "a" / f"x{i}.png")
    train = open_split(_cfg(tmp_path), "train")
    assert [train[i][0].mode for i in range(len(train))] == ["RGB"] * 5
