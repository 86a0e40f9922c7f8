"""Time of one training step of INTL's four forms, and of a symmetric momentum method, in turns in one run.

    python benchmarks/variants.py

The Fashion-MNIST settings, data already in memory; forward, backward and optimizer step under Lightning.
Writes benchmarks/variants.json: each form's time over plain INTL's, beside Table G (two GPUs, ResNet-50).
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from solo_intl.config import SCRIPTS
from solo_intl.engine.pretrain import prepare
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.cell import read_config
from solo_intl.register import register

ROUNDS, STEPS, WARM_UP = 3, 4, 1
FORMS = (
    "intl",
    "intl_ema",
    "intl_multicrop",
    "intl_ema_multicrop",
    "byol",
)  # byol: both views, both networks
TABLE_G = {"intl_ema": 0.849, "intl_multicrop": 1.97, "intl_ema_multicrop": 1.74}


class Stopwatch(Callback):
    """Seconds of each step after the first."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = 0.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.global_step > WARM_UP:
            self.seconds.append(time.perf_counter() - self.started)


def seconds_per_step(form: str) -> list[float]:
    cfg = read_config(SCRIPTS / "pretrain" / "fashion-mnist", form)
    cfg = OmegaConf.merge(cfg, {"data": {"num_workers": 0, "max_images": 1280}, "dry_run": True})
    if form == "byol":  # the same projector, so that only the form differs
        cfg.method_kwargs.proj_hidden_dim = cfg.method_kwargs.proj_output_dim = 1024
    run = prepare(cfg)
    batches = [batch for _, batch in zip(range(STEPS + WARM_UP), run.train, strict=False)]
    watch = Stopwatch()
    run.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    run.trainer.fit(run.model, DataLoader(batches, batch_size=None))
    return watch.seconds


def main() -> None:
    register()
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    ratios: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(ROUNDS):
        for form in FORMS:
            found = seconds_per_step(form)
            times[form] += found
            ratios[form].append(statistics.median(found) / statistics.median(times["intl"][-STEPS:]))
    results = {
        form: {
            "seconds": round(statistics.median(times[form]), 3),
            "over plain INTL": round(statistics.median(ratios[form]), 3),
            **({"Table G": TABLE_G[form]} if form in TABLE_G else {}),
        }
        for form in FORMS
    }
    for form, result in results.items():
        print(form, result)
    file = Path(__file__).with_suffix(".json")
    write_json(file, {"rounds": ROUNDS, "steps": STEPS, "results": results, "environment": environment()})
    print(file)


if __name__ == "__main__":
    main()
