"""The idx format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from solo_intl.errors import UserError

#: Two zero bytes, the type (8 = unsigned byte), the number of dimensions.
_MAGIC = {1: b"\x00\x00\x08\x01", 3: b"\x00\x00\x08\x03"}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an idx file of bytes, gzipped (``.gz``) or plain.

    Args:
        path: the file.
        dimensions: 3 for images [n, h, w], 1 for labels [n].

    Returns:
        uint8 array of the shape the header states.

    Raises:
        UserError: not such a file, or one whose length differs from what its header states.
    """
    shape = idx_shape(path, dimensions)
    with _open(path) as file:
        content = _read(file, path)[4 + 4 * dimensions :]
    expected = int(np.prod(shape))
    if len(content) != expected:
        raise UserError(
            f"{path}: found {len(content)} bytes of data, accepted: the {expected} its header states "
            "(truncated or damaged: fetch the file again)"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def idx_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Shape stated by an idx file's header, without reading the rest.

    Raises:
        UserError: unreadable, or not an idx file of bytes with that many dimensions.
    """
    with _open(path) as file:
        header = _read(file, path, 4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != _MAGIC[dimensions]:
        raise UserError(
            f"{path}: found a header {header[:4].hex() or '(empty)'}, accepted: {_MAGIC[dimensions].hex()} "
            f"(an idx file of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''})"
        )
    return tuple(np.frombuffer(header[4:], ">u4").tolist())


def _open(path: Path) -> BinaryIO:
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from error


def _read(file: BinaryIO, path: Path, size: int = -1) -> bytes:
    try:
        return file.read(size)
    except (EOFError, OSError, zlib.error) as error:  # a cut gzip stream, or none at all
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: truncated or damaged, fetch the file again ({reason})") from error
