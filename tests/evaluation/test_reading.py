"""Claims: a file is read without running code; what is damaged or no checkpoint is refused in one line."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from solo_intl.errors import UserError
from solo_intl.evaluation.reading import read_checkpoint


def save(content: Any, folder: Path) -> Path:
    path = folder / "model.ckpt"
    torch.save(content, path)
    return path


def refusal(call: Callable[[], object], message: str) -> str:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    return str(error.value)


def a_function() -> None:
    """Something weights_only refuses to unpickle."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": {}, "lr": functools.partial(a_function)},
            r"found a pickled functools\.partial, which could",
        ),
        ({"state_dict": {}, "callback": a_function}, r"found a pickled \S*a_function"),
        (nn.Linear(2, 2), r"found a pickled torch\.nn\.modules\.linear\.Linear"),
        ({"epoch": 3, "optimizer": {}}, r"found the keys epoch, optimizer and no weights by name"),
        ({"state_dict": {}}, r"found the keys state_dict and no weights"),
        ({"state_dict": {"a": 1}}, r"no weights by name"),
        ([torch.zeros(2)], r"found a list and no weights"),
        ({}, r"no weights by name"),
    ],
)
def test_content_that_is_no_checkpoint(content: Any, message: str, tmp_path: Path) -> None:
    path = save(content, tmp_path)
    assert str(path) in refusal(lambda: read_checkpoint(path), message)


def damage(kind: str, whole: bytes) -> bytes:
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    return {
        "empty": b"",
        "half": whole[:middle],
        "last byte missing": whole[:-1],
        "first hundred bytes": whole[:100],
        "one bit flipped": flipped,
        "text": b"epoch,loss\n1,0.5\n",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "ordinary pickle": pickle.dumps({"state_dict": {"a": 1}}),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "half",
        "last byte missing",
        "first hundred bytes",
        "one bit flipped",
        "text",
        "png",
        "ordinary pickle",
    ],
)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    path = save({"state_dict": {"conv1.weight": torch.randn(50_000)}}, tmp_path)
    path.write_bytes(damage(kind, path.read_bytes()))
    assert str(path) in refusal(lambda: read_checkpoint(path), "found a damaged or truncated file")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refusal(lambda: read_checkpoint(tmp_path / "none.ckpt"), r"none\.ckpt: found no such file")
    refusal(lambda: read_checkpoint(tmp_path), "found a folder")


@pytest.mark.parametrize("old_format", [False, True])
def test_what_is_read(old_format: bool, tmp_path: Path) -> None:
    cfg = {"method": "intl", "augmentations": [{"crop_size": 32}]}
    content = {"state_dict": {"a": torch.arange(3)}, "solo_intl": {"cfg": cfg}, "epoch": 2}
    path = tmp_path / "file.pth.tar"
    torch.save(copy.deepcopy(content), path, _use_new_zipfile_serialization=not old_format)
    checkpoint = read_checkpoint(str(path))
    assert checkpoint.cfg == cfg
    assert checkpoint.path == path
    assert torch.equal(checkpoint.state_dict["a"], torch.arange(3))


@pytest.mark.parametrize("cfg", ["resnet18", ["intl"], 3, None])
def test_a_config_that_is_no_mapping_counts_as_none(cfg: Any, tmp_path: Path) -> None:
    path = save({"state_dict": {"a": torch.zeros(1)}, "solo_intl": {"cfg": cfg}}, tmp_path)
    assert read_checkpoint(path).cfg is None


def test_files_saved_without_checksums_are_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"a": torch.randn(9)}, tmp_path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert set(read_checkpoint(path).state_dict) == {"a"}


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_under_either_key(key: str, tmp_path: Path) -> None:
    path = save({key: {"conv1.weight": torch.arange(2)}, "epoch": 3}, tmp_path)
    assert set(read_checkpoint(path).state_dict) == {"conv1.weight"}


def test_a_weight_that_is_called_model_is_a_weight(tmp_path: Path) -> None:
    path = save({"model": torch.zeros(1), "other": torch.zeros(1)}, tmp_path)
    assert set(read_checkpoint(path).state_dict) == {"model", "other"}


@pytest.mark.parametrize("config", [None, "{}", '{"method": "byol"}', "3"])
def test_safetensors_with_and_without_our_config(config: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(3)}, path, None if config is None else {"config": config})
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint.state_dict["a"], torch.arange(3))
    assert checkpoint.cfg == {None: None, "{}": {}, "3": None}.get(config, {"method": "byol"})


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 64, "half", "bad config", "no weights"])
def test_safetensors_that_cannot_be_read(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights = {} if content == "no weights" else {"a": torch.randn(999)}
    save_file(weights, path, {"config": "{" if content == "bad config" else "{}"})
    if isinstance(content, bytes):
        path.write_bytes(content)
    if content == "half":
        path.write_bytes(path.read_bytes()[:999])
    refusal(lambda: read_checkpoint(path), "a.safetensors: found (a damaged|no weights)")


def test_reading_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = save({"state_dict": {"a": torch.zeros(1)}, "payload": Payload()}, tmp_path)
    refusal(lambda: read_checkpoint(path), "found a pickled")
    assert not (tmp_path / "ran").exists()
