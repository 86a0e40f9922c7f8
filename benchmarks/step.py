"""Time of whole training steps: INTL beside other methods, its four forms, default settings beside fp32.

    python benchmarks/step.py

Data are already in memory; forward, backward and optimizer step under Lightning, all in turns in one run.
Writes benchmarks/step.json. Only ratios of one run mean anything on a shared machine.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
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

ROUNDS, STEPS, WARM_UP = 3, 3, 1
BATCH = 128
# 3x3 stem at stride 1, 32 px: the CIFAR settings of each method on images that need no download
CIFAR_LIKE = {
    "data": {"dataset": "digits", "num_workers": 0},
    "backbone": {"stem": "cifar"},
    "optimizer": {"batch_size": BATCH},
}
FASHION = {"data": {"num_workers": 0, "max_images": 10 * BATCH}, "optimizer": {"batch_size": BATCH}}


@dataclass(frozen=True)
class Case:
    """One row: a shipped file and what is changed in it, and the row its time is divided by."""

    file: str
    over: str
    changes: dict[str, Any] = field(default_factory=dict)
    published: float | None = None  # Table G: two GPUs, ResNet-50

    @property
    def settings(self) -> Any:
        folder, name = self.file.split("/")
        shared = CIFAR_LIKE if folder == "cifar" else FASHION
        cfg = read_config(SCRIPTS / "pretrain" / folder, name)
        return OmegaConf.merge(cfg, shared, {"precision": "auto", "dry_run": True}, self.changes)


CASES = {
    "intl": Case("cifar/intl", "barlow_twins"),
    "barlow_twins": Case("cifar/barlow_twins", "barlow_twins"),
    "vicreg": Case("cifar/vicreg", "barlow_twins"),
    "simclr": Case("cifar/simclr", "barlow_twins"),
    "byol": Case("cifar/byol", "barlow_twins"),
    "barlow_twins in fp32": Case("cifar/barlow_twins", "intl", {"precision": "32-true"}),
    "forms: plain": Case("fashion-mnist/intl", "forms: plain"),
    "forms: EMA": Case("fashion-mnist/intl_ema", "forms: plain", published=0.849),
    "forms: multi-crop": Case("fashion-mnist/intl_multicrop", "forms: plain", published=1.97),
    "forms: both": Case("fashion-mnist/intl_ema_multicrop", "forms: plain", published=1.74),
    # both views through both networks, no predictor, a projector of the same widths
    "symmetric momentum (MoCo V2+)": Case(
        "fashion-mnist/mocov2plus",
        "forms: EMA",
        {"method_kwargs": {"proj_hidden_dim": 1024, "proj_output_dim": 1024}},
    ),
}


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


def seconds_per_step(case: Case) -> float:
    """Median over the steps of one short run."""
    run = prepare(case.settings)
    batches = [batch for _, batch in zip(range(STEPS + WARM_UP), run.train, strict=False)]
    watch = Stopwatch()
    run.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    run.trainer.fit(run.model, DataLoader(batches, batch_size=None))
    return statistics.median(watch.seconds)


def main() -> None:
    register()
    rounds = [{name: seconds_per_step(case) for name, case in CASES.items()} for _ in range(ROUNDS)]
    results = {
        name: {
            "seconds": round(statistics.median(times[name] for times in rounds), 3),
            "over": case.over,
            "ratio": round(statistics.median(times[name] / times[case.over] for times in rounds), 3),
            **({"Table G": case.published} if case.published else {}),
        }
        for name, case in CASES.items()
    }
    for name, result in results.items():
        print(name, result)
    file = Path(__file__).with_suffix(".json")
    write_json(
        file,
        {
            "rounds": ROUNDS,
            "steps": STEPS,
            "batch": BATCH,
            "results": results,
            "environment": environment(),
        },
    )
    print(file)


if __name__ == "__main__":
    main()
