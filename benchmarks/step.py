"""Time and peak memory of training steps: INTL beside other methods, its four forms, and stock settings.

    python benchmarks/step.py --solo-learn CHECKOUT_OF_HEAD

Forward, backward and optimizer step under Lightning, in turns in one run: only its ratios mean anything. Data
are in memory, but for two comparisons:

- stock: solo-learn HEAD's own main_pretrain.py, unmodified, fp32, its PIL loader with its four workers (and
  channels_last, which it sets by itself), on Barlow Twins from its own YAML and on INTL through the plugin;
- default: `solo-intl pretrain` with the YAML shipped here and precision=auto, its loader in the time as well.

Without --solo-learn (or SOLO_LEARN_CHECKOUT) these are left out. On one thread, the default, time is that of
this process, without the loader's workers, which a shared machine disturbs least; `--threads 2` measures the
wall clock's. Peak memory is what a step adds to what the process holds once its model stands. Writes
benchmarks/step.json and docs/figures/step.png.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import stock
import torch
import torchvision
from lightning.pytorch import Callback, LightningModule, Trainer
from memory import PeakMemory
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from solo_intl.config import SCRIPTS
from solo_intl.detect import checkout_commit
from solo_intl.engine.pretrain import prepare
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.cell import read_config
from solo_intl.experiments.figures import COLOURS, plt
from solo_intl.register import register

WARM_UP = 1
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "step.png"
# 3x3 stem at stride 1, 32 px: the CIFAR settings of each method on images that need no download
CIFAR_LIKE = {"data": {"dataset": "digits"}, "backbone": {"stem": "cifar"}}
FASHION = {"data": {"max_images": 1280}}


@dataclass(frozen=True)
class Case:
    """One row: a shipped file and what is changed in it."""

    file: str
    changes: dict[str, Any] = field(default_factory=dict)
    own_loader: bool = False

    def settings(self, batch: int) -> Any:
        folder, name = self.file.split("/")
        shared = {} if self.own_loader else {"cifar": CIFAR_LIKE, "fashion-mnist": FASHION}[folder]
        fixed = {"optimizer": {"batch_size": batch}, "precision": "auto", "dry_run": True}
        if not self.own_loader:
            fixed["data"] = {"num_workers": 0}
        return OmegaConf.merge(read_config(SCRIPTS / "pretrain" / folder, name), shared, fixed, self.changes)


CASES = {
    "INTL": Case("cifar/intl"),
    "Barlow Twins": Case("cifar/barlow_twins"),
    "VICReg": Case("cifar/vicreg"),
    "SimCLR": Case("cifar/simclr"),
    "BYOL": Case("cifar/byol"),
    "plain": Case("fashion-mnist/intl"),
    "EMA": Case("fashion-mnist/intl_ema"),
    "multi-crop": Case("fashion-mnist/intl_multicrop"),
    "both": Case("fashion-mnist/intl_ema_multicrop"),
    # both views through both networks, no predictor, a projector of the same widths
    "symmetric momentum (MoCo V2+)": Case(
        "fashion-mnist/mocov2plus", {"method_kwargs": {"proj_hidden_dim": 1024, "proj_output_dim": 1024}}
    ),
}
STOCK = ("Barlow Twins", "INTL")
# name: (a row, over another, the aim of the ratio)
RATIOS: dict[str, tuple[str, str, str | None]] = {
    "INTL over Barlow Twins": ("INTL", "Barlow Twins", "<= 0.95"),
    "INTL over VICReg": ("INTL", "VICReg", None),
    "INTL over SimCLR": ("INTL", "SimCLR", None),
    "INTL over BYOL": ("INTL", "BYOL", None),
    "EMA over symmetric momentum": ("EMA", "symmetric momentum (MoCo V2+)", "<= 0.60"),
    **{f"{name}, stock over default": (f"{name}, stock", f"{name}, default", ">= 2.5") for name in STOCK},
    "EMA over plain": ("EMA", "plain", None),
    "multi-crop over plain": ("multi-crop", "plain", None),
    "both over plain": ("both", "plain", None),
}
# the paper's, two A100s, ResNet-50, mixed precision
TABLE_G = {
    "EMA over plain": {"time": 0.849, "memory": 0.74},
    "multi-crop over plain": {"time": 1.97, "memory": 1.62},
    "both over plain": {"time": 1.74, "memory": 1.33},
}


class Stopwatch(Callback):
    """Seconds of each step after the first; with the loader, from the end of the one before."""

    def __init__(self, with_loader: bool, clock: Callable[[], float]) -> None:
        self.seconds: list[float] = []
        self.with_loader, self.clock, self.started = with_loader, clock, 0.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if not self.with_loader:
            self.started = self.clock()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        now = self.clock()
        if trainer.global_step > WARM_UP:
            self.seconds.append(now - self.started)
        self.started = now


@dataclass(frozen=True)
class Timing:
    """How steps are timed."""

    steps: int
    batch: int
    threads: int

    @property
    def clock(self) -> Callable[[], float]:
        return time.process_time if self.threads == 1 else time.perf_counter


def measure(case: Case, timing: Timing) -> dict[str, float]:
    """Median seconds of a step in one short run, and its peak memory."""
    run = prepare(case.settings(timing.batch))
    watch = Stopwatch(case.own_loader, timing.clock)
    run.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    run.trainer.limit_train_batches = timing.steps + WARM_UP
    batches: Any = run.train
    if not case.own_loader:
        batches = DataLoader(list(itertools.islice(run.train, timing.steps + WARM_UP)), batch_size=None)
    gc.collect()
    peak = PeakMemory()
    run.trainer.fit(run.model, batches)
    return {"seconds": statistics.median(watch.seconds), "MiB": peak.mib()}


def stock_seconds(name: str, checkout: Path, data: Path, timing: Timing) -> float:
    """The same of solo-learn's own script."""
    files = {
        "Barlow Twins": (checkout / "scripts" / "pretrain" / "cifar", "barlow"),
        "INTL": ("pkg://solo_intl.scripts.pretrain.cifar", "intl"),
    }
    folder, file = files[name]
    arguments = [
        *(f"--config-path={folder}", f"--config-name={file}"),
        *(f"data.train_path={data}", f"data.val_path={data}", f"optimizer.batch_size={timing.batch}"),
        *("accelerator=cpu", "devices='1'", "strategy=auto", "precision=32", "max_epochs=1"),
        *(
            f"+limit_train_batches={timing.steps + WARM_UP}",
            "+limit_val_batches=0",
            "+num_sanity_val_steps=0",
        ),
        *("checkpoint.enabled=False", "auto_resume.enabled=False", "++wandb.enabled=False"),
        "+enable_progress_bar=False",
    ]
    with tempfile.TemporaryDirectory() as place:
        found = stock.run("main_pretrain.py", checkout, Path(place), arguments, threads=timing.threads)
    stamps = [stamp["processor" if timing.threads == 1 else "wall"] for stamp in found["batches"]]
    return float(np.median(np.diff(stamps)))


def one_round(cases: dict[str, Case], checkout: Path | None, data: Path, timing: Timing) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, case in cases.items():
        found[name] = measure(case, timing)
        print(f"{name:32s}{found[name]['seconds']:8.3f} s {found[name]['MiB']:8.0f} MiB", flush=True)
    for name in STOCK if checkout else ():
        found[f"{name}, stock"] = {"seconds": stock_seconds(name, checkout, data, timing)}
        print(f"{name + ', stock':32s}{found[f'{name}, stock']['seconds']:8.3f} s", flush=True)
    return found


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def middle(row: str, key: str) -> float:
        return statistics.median(found[row][key] for found in rounds)

    rows = {
        name: {key: round(middle(name, key), 3 if key == "seconds" else 0) for key in found}
        for name, found in rounds[0].items()
    }
    ratios: dict[str, Any] = {}
    for name, (row, over, aim) in RATIOS.items():
        if row in rows and over in rows:
            each = [found[row]["seconds"] / found[over]["seconds"] for found in rounds]
            ratios[name] = {
                "ratio": round(statistics.median(each), 3),
                "of each round": [round(ratio, 3) for ratio in each],
            }
            if "MiB" in rows[row] and "MiB" in rows[over]:
                ratios[name]["memory"] = round(rows[row]["MiB"] / rows[over]["MiB"], 2)
            ratios[name].update({"aim": aim} if aim else {})
            ratios[name].update({"Table G": TABLE_G[name]} if name in TABLE_G else {})
    return {"rows": rows, "ratios": ratios}


def draw(results: dict[str, Any], batch: int, about: dict[str, Any]) -> Path:
    """Seconds and peak memory of a step, one bar a row."""
    rows = results["rows"]
    size = (10, 0.32 * len(rows) + 1)
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    colours = [COLOURS[0 if "stock" in name else 1] for name in rows]
    bars = time_axes.barh(list(rows), [row["seconds"] for row in rows.values()], color=colours)
    time_axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=3)
    time_axes.margins(x=0.15)
    time_axes.invert_yaxis()
    time_axes.set_xlabel(f"seconds a step of {batch} images, ResNet-18")
    measured = {name: row["MiB"] for name, row in rows.items() if "MiB" in row}  # of our own process
    bars = memory_axes.barh(list(measured), list(measured.values()), color=COLOURS[1])
    memory_axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=3)
    memory_axes.margins(x=0.15)
    memory_axes.set_xlabel("peak MiB of a step above the model")
    machine = f"{about['machine']['processor']}, torch {about['packages']['torch']}, {about['date'][:10]}"
    figure.suptitle(machine, fontsize=7)
    figure.savefig(FIGURE, dpi=120)
    return FIGURE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solo-learn", type=Path, help="HEAD's checkout, or SOLO_LEARN_CHECKOUT")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="timed in a round; one more warms up")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--threads", type=int, default=1, help="with one, processor time; with more, wall clock"
    )
    given = parser.parse_args()
    wanted = given.solo_learn or os.environ.get("SOLO_LEARN_CHECKOUT")
    checkout = stock.checkout(wanted) if wanted else None
    timing = Timing(given.steps, given.batch, given.threads)
    torch.set_num_threads(timing.threads)
    register()
    torchvision.datasets.cifar.check_integrity = lambda *_: True  # the files hold digits
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        stock.write_cifar(data)
        place = {"data": {"train_path": folder, "val_path": folder}}
        files = dict(zip(STOCK, ("cifar/barlow_twins", "cifar/intl"), strict=True))
        defaults = {f"{name}, default": Case(file, place, own_loader=True) for name, file in files.items()}
        cases = {**CASES, **(defaults if checkout else {})}
        rounds = [one_round(cases, checkout, data, timing) for _ in range(given.rounds)]
    results, about = summary(rounds), environment()
    for name, ratio in results["ratios"].items():
        print(name, ratio)
    commit = checkout_commit(checkout) if checkout else None
    settings = {"rounds": given.rounds, **asdict(timing), "solo-learn HEAD": commit}
    file = Path(__file__).with_suffix(".json")
    write_json(file, {"settings": settings, "results": results, "environment": about})
    print(file, draw(results, timing.batch, about))


if __name__ == "__main__":
    main()
