"""What the spectrum monitor costs, in percent of training: python benchmarks/monitor.py

An epoch on digits a row, in a temporary folder, with a measurement at every step. Writes
benchmarks/monitor.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from solo_intl.config.compose import config_folder
from solo_intl.engine.monitor import IMAGES
from solo_intl.engine.pretrain import prepare
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.cell import read_config
from solo_intl.register import register

CHEAP = "++backbone.stem_stride=2"  # a quarter of the backbone's work: the monitor weighs most
ROWS = {
    "INTL": ("intl",),
    "VICReg": ("vicreg",),
    "INTL, stem of stride 2": ("intl", CHEAP),
    "INTL, stem of stride 2, 256 images, d = 2048": (
        "intl",
        CHEAP,
        "optimizer.batch_size=256",
        "method_kwargs.proj_output_dim=2048",
    ),
}


def measure(epochs: int, method: str, *overrides: str) -> dict[str, Any]:
    """Seconds of a measurement and of a step without it, and what follows."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = (
            f"checkpoint.dir={folder}",
            f"max_epochs={epochs}",
            "monitor.every_n_steps=1",
            "checkpoint.enabled=false",
        )
        quiet = ("++enable_progress_bar=false", "++limit_val_batches=0")
        run = prepare(read_config(config_folder("pretrain/digits"), method, [*fixed, *quiet, *overrides]))
        assert run.monitor is not None
        assert run.folder is not None
        run.folder.mkdir(parents=True)
        started = time.perf_counter()
        run.trainer.fit(run.model, run.train)
        seconds = time.perf_counter() - started
        measured = len(run.monitor.found)
    step = (seconds - run.monitor.seconds) / run.clock.batches
    one = run.monitor.seconds / measured
    return {
        "images": min(IMAGES, int(run.cfg.optimizer.batch_size)),
        "measurements": measured,
        "seconds a step": round(step, 4),
        "seconds a measurement": round(one, 4),
        "percent of training, measured every n steps": {
            n: round(100 * one / (n * step), 3) for n in (1, 10, 50)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=1)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(2)
    register()
    results = {}
    for name, settings in ROWS.items():
        results[name] = measure(epochs, *settings)
        print(name, results[name], flush=True)
    file = Path(__file__).with_suffix(".json")
    write_json(file, {"epochs": epochs, "results": results, "environment": environment()})
    print(file)


if __name__ == "__main__":
    main()
