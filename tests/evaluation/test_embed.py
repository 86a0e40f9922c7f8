"""Claims: what is written reads back row for row in both formats; a failure leaves nothing half-written."""

from __future__ import annotations

import builtins
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from solo_intl.errors import UserError
from solo_intl.evaluation import embed
from solo_intl.evaluation.embed import write_embeddings
from solo_intl.evaluation.features import Features

NAMES = ["plain.png", 'with, comma and "quotes".png', "schön/日本.png", "last.png"]
CLASSES = ["cat", "dog, big"]
FEATURES = Features(
    torch.rand(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0, -1, 1]), NAMES
)
ROWS = list(zip(NAMES, [1, 0, -1, 1], ["dog, big", "cat", "", "dog, big"], strict=True))


def test_csv_round_trip(tmp_path: Path) -> None:
    paths = write_embeddings(FEATURES, CLASSES, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["features.npy", "names.csv"]
    x = np.load(paths[0], allow_pickle=False)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, FEATURES.x.numpy())
    with paths[1].open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "label", "class"]
    assert [(name, int(label), kind) for name, label, kind in rows] == ROWS
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "features.npy",
        "names.csv",
    ]


def test_parquet_round_trip(tmp_path: Path) -> None:
    (path,) = write_embeddings(FEATURES, CLASSES, tmp_path, format="parquet")
    table = pq.read_table(path)
    assert table.column_names == ["name", "label", "class", "feature"]
    columns = table.to_pydict()
    assert list(zip(columns["name"], columns["label"], columns["class"], strict=True)) == ROWS
    np.testing.assert_array_equal(np.array(columns["feature"], dtype=np.float32), FEATURES.x.numpy())
    assert [file.name for file in tmp_path.iterdir()] == ["embeddings.parquet"]


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    features = Features(torch.zeros(1, 1), torch.tensor([-1]), [name])
    _, names = write_embeddings(features, [], tmp_path)
    assert b"caf\xe9.png,-1," in names.read_bytes()


def test_parquet_takes_names_that_are_not_utf8_and_keeps_them_apart(tmp_path: Path) -> None:
    names = [name.decode("utf-8", "surrogateescape") for name in (b"caf\xe9.png", b"caf\xe8.png")]
    features = Features(torch.zeros(2, 1), torch.tensor([0, -1]), names)
    (path,) = write_embeddings(
        features, [b"chat\xe9".decode("utf-8", "surrogateescape")], tmp_path, "parquet"
    )
    columns = pq.read_table(path).to_pydict()
    assert columns["name"] == [r"caf\udce9.png", r"caf\udce8.png"]
    assert columns["class"] == [r"chat\udce9", ""]


@pytest.mark.parametrize("failing", ["_write_npy", "_write_csv", "_write_parquet"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_mid_write_leaves_nothing(
    failing: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_write(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise error("stopped")

    monkeypatch.setattr(embed, failing, half_write)
    chosen = "parquet" if failing == "_write_parquet" else "csv"
    with pytest.raises(error, match="stopped"):
        write_embeddings(FEATURES, CLASSES, tmp_path / "out", format=chosen)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_embeddings(FEATURES, CLASSES, tmp_path)
    before = [path.read_bytes() for path in paths]

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embed, "_write_csv", fail)
    other = Features(FEATURES.x + 1, FEATURES.y, NAMES)
    with pytest.raises(UserError, match=r"can't be written \(No space left on device\)"):
        write_embeddings(other, CLASSES, tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_in_the_way_is_seen_before_anything_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "names.csv").mkdir()
    with pytest.raises(UserError, match=r"names\.csv: found a folder"):
        write_embeddings(FEATURES, CLASSES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["names.csv"]


def test_parquet_without_pyarrow_names_the_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(UserError, match="pip install pyarrow"):
        write_embeddings(FEATURES, CLASSES, tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


def test_refuses_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="format: found 'json', accepted: csv, parquet"):
        write_embeddings(FEATURES, CLASSES, tmp_path, format="json")
    with pytest.raises(UserError, match=r"format: found 'parket', .* \(nearest: parquet\)"):
        write_embeddings(FEATURES, CLASSES, tmp_path, format="parket")
    with pytest.raises(UserError, match="found label 1 and 1 class names"):
        write_embeddings(FEATURES, ["cat"], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: can't be written \(File exists\)"):
        write_embeddings(FEATURES, CLASSES, tmp_path / "file")
