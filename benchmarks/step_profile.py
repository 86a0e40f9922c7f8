"""Where the time of a training step goes: python benchmarks/step_profile.py [PRECISION]

Plain INTL, CIFAR stem, ResNet-18, one step under Lightning and `torch.profiler`, data in memory. Time of an
operation itself, not of those it calls, belongs to the nearest part of the network above it in the call tree.
Writes benchmarks/step_profile.json and docs/figures/step_profile.png.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from step import CASES, Case
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from solo_intl.engine.pretrain import prepare
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.figures import COLOURS, plt
from solo_intl.register import register

STEPS, WARM_UP, BATCH = 3, 2, 128
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "step_profile.png"
# part: what the name of an operation contains; the first that fits, searched from the operation outwards
PARTS = {
    "loss": ("GramStatistics",),
    "optimizer": ("Optimizer.step", "Optimizer.zero_grad"),
    "batch normalisation": ("batch_norm", "BatchNorm"),
    "convolutions": ("convolution", "Convolution", "_Product", "conv2d"),
    "projector and classifiers": ("linear", "Addmm", "MmBackward", "TBackward"),
    "activations, sums, pooling": ("relu", "Relu", "Threshold", "max_pool", "MaxPool", "AddBackward", "add_"),
    "copies and casts": ("aten::to", "ToCopy", "aten::copy_", "aten::contiguous", "aten::clone"),
}
# inside a convolution: the product itself; all else only arranges its factors
PRODUCTS = ("aten::mm", "aten::bmm", "mkldnn_convolution", "convolution_backward", "aten::addmm")


class Recorder(Callback):
    """Profiles every step after the first ones, and times each."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.events: list[Any] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU])
        self.profiler.start()
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        seconds = time.perf_counter() - self.started
        self.profiler.stop()
        if trainer.global_step > WARM_UP:
            self.seconds.append(seconds)
            self.events.append(self.profiler.events())


def part_of(event: Any) -> str:
    outer = event
    while outer is not None:
        for part, names in PARTS.items():
            if any(name in outer.name for name in names):
                arranged = part == "convolutions" and not any(name in event.name for name in PRODUCTS)
                return "convolutions: arranging their factors" if arranged else part
        outer = outer.cpu_parent
    return "other operations"


def shares(events: Any, seconds: float) -> dict[str, float]:
    """Milliseconds of each part; what the profiler saw in no operation is Python's and Lightning's own."""
    found: Counter[str] = Counter()
    for event in events:
        found[part_of(event)] += event.self_cpu_time_total / 1e3
    found["outside operations"] = 1e3 * seconds - sum(found.values())
    return dict(found.most_common())


def main(precision: str = "auto") -> None:
    """Profile a few steps; print and write the medians."""
    torch.set_num_threads(2)
    register()
    case = Case(CASES["INTL"].file, {"precision": precision})
    run = prepare(case.settings(BATCH))
    run.trainer.limit_train_batches = STEPS + WARM_UP
    recorder = Recorder()
    run.trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
    batches = [batch for _, batch in zip(range(STEPS + WARM_UP), run.train, strict=False)]
    run.trainer.fit(run.model, DataLoader(batches, batch_size=None))
    each = [shares(*pair) for pair in zip(recorder.events, recorder.seconds, strict=True)]
    middle = {part: statistics.median(found.get(part, 0.0) for found in each) for part in each[0]}
    whole = sum(middle.values())
    parts = {
        part: {"milliseconds": round(ms, 1), "percent": round(100 * ms / whole, 1)}
        for part, ms in sorted(middle.items(), key=lambda item: -item[1])
    }
    for part, row in parts.items():
        print(f"{part:42s}{row['milliseconds']:9.1f} ms {row['percent']:6.1f} %")
    operations: Counter[str] = Counter()
    for event in recorder.events[-1]:
        operations[event.name] += event.self_cpu_time_total / 1e3
    longest = {name: round(ms, 1) for name, ms in operations.most_common(12)}
    about = environment()
    content = {"batch": BATCH, "precision": str(run.trainer.precision), "parts": parts, "operations": longest}
    file = Path(__file__).with_suffix(".json")
    write_json(file, {**content, "environment": about})
    print(file, draw(parts, content["precision"], about))


def draw(parts: dict[str, Any], precision: str, about: dict[str, Any]) -> Path:
    """One bar a part."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    bars = axes.barh(list(parts), [row["percent"] for row in parts.values()], color=COLOURS[1])
    axes.bar_label(bars, fmt="%.1f %%", fontsize=8, padding=3)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel(f"share of an INTL step, ResNet-18, {BATCH} images, {precision}")
    machine = f"{about['machine']['processor']}, torch {about['packages']['torch']}, {about['date'][:10]}"
    axes.set_title(machine, fontsize=7)
    figure.savefig(FIGURE, dpi=120)
    return FIGURE


if __name__ == "__main__":
    main(*sys.argv[1:])
