"""solo-learn HEAD's own scripts, unmodified, timed in a process of their own.

They know CIFAR, not digits: `write_cifar` puts digits of CIFAR's size into files of its format, and the
script's test of the real files' checksum is off. A callback added to Lightning's Trainer notes the time.
"""

from __future__ import annotations

import json
import os
import pickle
import runpy
import subprocess
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch

CLASSES = 10
SAMPLE = {"train": 1000, "val": 200}  # both a fiftieth of CIFAR
ROOT = Path(__file__).resolve().parent.parent


def checkout(given: Path | None) -> Path:
    """HEAD's checkout: as given, or by the variable SOLO_LEARN_CHECKOUT."""
    found = given or os.environ.get("SOLO_LEARN_CHECKOUT")
    if found is None or not (Path(found) / "main_linear.py").is_file():
        raise SystemExit(f"--solo-learn: found {found}, accepted: a checkout of solo-learn HEAD")
    return Path(found).resolve()


def digits(split: str) -> tuple[np.ndarray, list[int]]:
    """uint8 [n, 32, 32, 3] and labels."""
    from PIL import Image

    from solo_intl.data import open_split

    dataset = open_split({"dataset": "digits"}, split)
    chosen = range(SAMPLE[split])
    resized = [dataset[i][0].resize((32, 32), Image.Resampling.BICUBIC) for i in chosen]
    return np.stack([np.asarray(image) for image in resized]), [dataset.labels[i] for i in chosen]


def write_cifar(root: Path) -> None:
    """Digits as CIFAR-10's own files, below root."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(CLASSES)]}))
    images, labels = digits("train")
    parts = np.array_split(np.arange(len(images)), 5)
    files = {f"data_batch_{i + 1}": (images[part], [labels[j] for j in part]) for i, part in enumerate(parts)}
    for name, (pixels, own) in {**files, "test_batch": digits("val")}.items():
        rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1))
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": own}))


def run(script: str, solo_learn: Path, folder: Path, arguments: list[str], *, threads: int) -> dict[str, Any]:
    """The script in the folder; its arrivals, in seconds of wall and processor, and last metrics."""
    paths = [str(solo_learn), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    done = subprocess.run(
        [sys.executable, __file__, str(solo_learn / script), str(threads), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    found: dict[str, Any] = json.loads((folder / "times.json").read_text())
    return found


def _timed(script: str, threads: int, arguments: list[str]) -> None:
    sys.path.insert(0, str(Path(script).parent))
    import torchvision
    from lightning.pytorch import Callback, Trainer

    torch.set_num_threads(threads)
    torchvision.datasets.cifar.check_integrity = lambda *_: True
    found: dict[str, Any] = {"epochs": [], "batches": []}

    def now() -> dict[str, float]:
        return {"wall": time.perf_counter(), "processor": time.process_time()}

    class Stopwatch(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            found["epochs"].append(now())

        def on_train_batch_end(self, *_: Any) -> None:
            found["batches"].append(now())

        def on_train_end(self, trainer: Trainer, *_: Any) -> None:
            found["epochs"].append(now())
            found["metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    original = Trainer.__init__

    @wraps(original)  # solo-learn reads the signature
    def with_stopwatch(self: Trainer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "callbacks": [*(kwargs.get("callbacks") or []), Stopwatch()]})

    Trainer.__init__ = with_stopwatch
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
    Path("times.json").write_text(json.dumps(found))


if __name__ == "__main__":
    _timed(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
