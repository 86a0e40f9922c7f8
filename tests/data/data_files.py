"""Writers of the other on-disk formats, a small file server, and the check every user error must pass."""

from __future__ import annotations

import gzip
import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from cifar_files import digits_rgb
from PIL import Image

from solo_intl.errors import UserError


@contextmanager
def refused(match: str) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """Expects a UserError of a single line that matches."""
    with pytest.raises(UserError, match=match) as caught:
        yield caught
    assert len(str(caught.value).splitlines()) == 1


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file: magic, big-endian sizes, data."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_idx(
    folder: Path, *, gz: bool, counts: tuple[int, int] = (60, 20), seed: int = 0
) -> dict[str, np.ndarray]:
    """Fashion-MNIST's four files with digits resized to 28 x 28; returns what each one holds."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {}
    for prefix, count, offset in (("train", counts[0], 0), ("t10k", counts[1], 1)):
        images, labels = digits_rgb(count, seed + offset, size=28)
        held[f"{prefix}-images-idx3-ubyte"] = np.ascontiguousarray(images[..., 0])
        held[f"{prefix}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    for name, array in held.items():
        content = idx_bytes(array)
        (folder / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(content) if gz else content)
    return held


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def write_class_folders(root: Path, per_class: dict[str, int], *, size: int = 16) -> Path:
    """``per_class[name]`` PNGs of real digits in ``root/name``: the n-th class holds the digit n."""
    images, labels = digits_rgb(max(per_class.values(), default=1) * 10, seed=3, size=size)
    for digit, (name, count) in enumerate(per_class.items()):
        (root / name).mkdir(parents=True)
        for i, image in enumerate(images[labels == digit % 10][:count]):
            (root / name / f"{i:03d}.png").write_bytes(encoded(image))
    return root


def write_h5(path: Path, per_class: dict[str, int], *, size: int = 16) -> dict[str, np.ndarray]:
    """solo-learn's layout, digits as PNG bytes; returns the pixels by ``class/name``."""
    images, labels = digits_rgb(max(per_class.values()) * 10, seed=4, size=size)
    held = {}
    with h5py.File(path, "w") as file:
        for digit, (name, count) in enumerate(per_class.items()):
            group = file.create_group(name)
            for i, image in enumerate(images[labels == digit % 10][:count]):
                group.create_dataset(f"{i:03d}.png", data=np.frombuffer(encoded(image), np.uint8))
                held[f"{name}/{i:03d}.png"] = image
    return held


class FileServer:
    """Serves ``files`` (path to bytes) on this machine; paths in ``cut`` break off half-way."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in outer.cut else content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
