"""CIFAR-10 and CIFAR-100 in their own on-disk format, filled with real images: scikit-learn's digits.

Other test folders use this too. The pickles are what Python 2 wrote in 2009: protocol 2, byte strings for
text and pixels, and the array constructor under NumPy's old module name.
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as Python 2's ``str``."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


def python2_pickle(content: Any) -> bytes:
    """``content`` as Python 2 and NumPy 1 would have pickled it."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def digits_rgb(count: int, seed: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """``count`` digits drawn by ``seed``, as uint8 [n, size, size, 3] and int [n]; each class as often."""
    digits = load_digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits.images))
    per_class = [order[digits.target[order] == c] for c in range(10)]
    chosen = rng.permutation([per_class[i % 10][(i // 10) % len(per_class[i % 10])] for i in range(count)])
    grey = np.round(digits.images[chosen] * 255 / 16).astype(np.uint8)
    resized = [Image.fromarray(g).resize((size, size), Image.Resampling.BICUBIC).convert("RGB") for g in grey]
    return np.stack([np.asarray(image) for image in resized]), digits.target[chosen].astype(int)


def _rows(images: np.ndarray) -> np.ndarray:
    """[n, 32, 32, 3] to CIFAR's rows [n, 3072]: all red values first, then green, then blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), -1))


def write_cifar10(root: Path, n_per_batch: int, seed: int) -> Path:
    """``<root>/cifar-10-batches-py``: five training batches and a test batch, ``n_per_batch`` digits each."""
    folder = Path(root) / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = digits_rgb(6 * n_per_batch, seed)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(i * n_per_batch, (i + 1) * n_per_batch)
        content = {
            "data": _rows(images[part]),
            "labels": labels[part].tolist(),
            "batch_label": f"batch {i + 1}",
            "filenames": [f"digit_{j}.png" for j in range(n_per_batch)],
        }
        (folder / name).write_bytes(python2_pickle(content))
    meta = {"label_names": CIFAR10_CLASSES, "num_cases_per_batch": n_per_batch, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    return folder


def write_cifar100(root: Path, n_per_batch: int, seed: int) -> Path:
    """``<root>/cifar-100-python``: 5 * ``n_per_batch`` training and ``n_per_batch`` test images.

    Digits make 100 classes here: 10 for the digit, times 10 for where the image stands in the file.
    """
    folder = Path(root) / "cifar-100-python"
    folder.mkdir(parents=True)
    images, digits = digits_rgb(6 * n_per_batch, seed)
    for name, part in (("train", slice(0, 5 * n_per_batch)), ("test", slice(5 * n_per_batch, None))):
        coarse = digits[part].tolist()
        content = {
            "data": _rows(images[part]),
            "fine_labels": [10 * digit + i % 10 for i, digit in enumerate(coarse)],
            "coarse_labels": coarse,
            "batch_label": name,
            "filenames": [f"digit_{j}.png" for j in range(len(coarse))],
        }
        (folder / name).write_bytes(python2_pickle(content))
    meta = {
        "fine_label_names": [f"digit {i // 10}, tenth {i % 10}" for i in range(100)],
        "coarse_label_names": [str(i) for i in range(10)],
    }
    (folder / "meta").write_bytes(python2_pickle(meta))
    return folder
