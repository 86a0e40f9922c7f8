"""Features written for other programs: .npy with a .csv beside it, or one parquet file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from solo_intl.errors import UserError, not_accepted
from solo_intl.evaluation.features import Features
from solo_intl.evaluation.writing import write_all

FORMATS = ("csv", "parquet")


def write_embeddings(
    features: Features, classes: Sequence[str], out_dir: str | Path, format: str = "csv"
) -> list[Path]:
    """Write features, names and labels; row i of every file is the same image.

    Every file is first written under a temporary name in `out_dir` and renamed when all are complete: a
    failure leaves no half-written file, and an earlier result stays as it was.

    Args:
        features: n images.
        classes: class names by label; an unlabelled image (-1) gets an empty class.
        out_dir: folder, created when missing.
        format: "csv": features.npy (float32 [n, d]) and names.csv (name, label, class). "parquet":
            embeddings.parquet (name, label, class, feature: a list of d float32).

    Returns:
        The paths written.

    Raises:
        UserError: unknown format, a label without a class name, `out_dir` is a file or can't be written, or
            parquet without pyarrow.

    Example:
        >>> import tempfile, torch
        >>> features = Features(torch.zeros(1, 2), torch.tensor([0]), ["cat/1.png"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_embeddings(features, ["cat"], folder)
        ...     print([path.name for path in paths], paths[1].read_text().split())
        ['features.npy', 'names.csv'] ['name,label,class', 'cat/1.png,0,cat']
    """
    if format not in FORMATS:
        raise not_accepted("format", format, FORMATS)
    labels = features.y.tolist()
    if labels and max(labels) >= len(classes):
        raise UserError(
            f"data: found label {max(labels)} and {len(classes)} class names; every label needs a name"
        )
    class_names = [classes[label] if label >= 0 else "" for label in labels]
    x = features.x.detach().cpu().float().numpy()

    writers: dict[str, Callable[[Path], None]]
    if format == "csv":
        writers = {
            "features.npy": lambda path: _write_npy(path, x),
            "names.csv": lambda path: _write_csv(path, features.names, labels, class_names),
        }
    else:
        _require_pyarrow()
        writers = {
            "embeddings.parquet": lambda path: _write_parquet(path, features.names, labels, class_names, x)
        }
    return write_all(Path(out_dir), writers)


def _write_npy(path: Path, x: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, x)


def _write_csv(path: Path, names: list[str], labels: list[int], class_names: list[str]) -> None:
    # surrogateescape: a file name that is not valid UTF-8 keeps its own bytes
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "label", "class"])
        writer.writerows(zip(names, labels, class_names, strict=True))


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(
            "format: 'parquet' needs pyarrow, which is not installed: pip install pyarrow"
        ) from error


def _write_parquet(
    path: Path, names: list[str], labels: list[int], class_names: list[str], x: np.ndarray
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    offsets = pa.array(np.arange(0, x.size + 1, x.shape[1], dtype=np.int64))
    table = pa.table(
        {
            "name": pa.array(_as_utf8(names), pa.string()),
            "label": pa.array(labels, pa.int64()),
            "class": pa.array(_as_utf8(class_names), pa.string()),
            "feature": pa.LargeListArray.from_arrays(offsets, pa.array(x.reshape(-1), pa.float32())),
        }
    )
    pq.write_table(table, path)


def _as_utf8(names: list[str]) -> list[str]:
    # parquet text is UTF-8 and nothing else: bytes that are not become \udcxx, which keeps names distinct
    return [name.encode("utf-8", "backslashreplace").decode("utf-8") for name in names]
