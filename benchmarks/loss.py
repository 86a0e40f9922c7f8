"""Time and peak memory of the INTL loss, forward and backward, beside the published algorithm and the floor.

    python benchmarks/loss.py

prints tables and writes benchmarks/loss.json and benchmarks/loss.png (see `--help`), in about five minutes.
On one thread, the default, time is the processor's, which a shared machine disturbs least; `--threads 2`
measures the wall clock's. The contenders take turns in one process, so that only ratios within one run are
compared:

- published: the paper's algorithm as its equations stand; "full covariance" makes all of Sigmahat;
- fp32, bf16: `intl_loss_func` at each precision;
- floor: seven products of m^2 d and 39 of m^3 (docs/loss.md, "What it costs") on ready arrays, no more;
- Barlow Twins, VICReg, SimCLR, W-MSE: benchmarks/contenders.py.

Then the time over m, d and T, with the exponents of power laws fitted to it.
Peak memory is the most that the allocator held at once above the inputs and their gradients.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contenders import INTL, OTHERS, STEPS, Loss, ours, published
from matplotlib.figure import Figure
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from solo_intl.engine.run_folder import environment

SIZES = ["256x2048", "128x4096", "256x8192", "1024x8192"]
SWEEPS = {"m": [64, 128, 256, 512], "d": [512, 1024, 2048, 4096, 8192], "T": [1, 2, 4, 6, 8]}
FIXED = {"m": 256, "d": 2048, "T": STEPS}
# two views, T = 4: products of m x m by m x d size, and of m x m by m x m
LONG, SHORT = 7, 39
LEAST_ROUNDS = 5
Step = Callable[[], None]
Clock = Callable[[], float]


def draw(m: int, d: int) -> list[Tensor]:
    common = torch.randn(m, d)
    return [(common + 0.5 * torch.randn(m, d)).requires_grad_() for _ in range(2)]


def training_step(loss: Loss, views: list[Tensor]) -> None:
    for z in views:
        z.grad = None
    loss(*views).backward()


def floor(x: Tensor, wide: Tensor, a: Tensor, square: Tensor) -> None:
    for i in range(LONG):
        torch.mm(x, x.T, out=square) if i < 3 else torch.mm(a, x, out=wide)
    for _ in range(SHORT):
        torch.mm(a, a, out=square)


def peak_bytes(step: Step, views: list[Tensor]) -> int:
    for z in views:
        z.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    held = peak = 0
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak - sum(z.numel() * z.element_size() for z in views)


def rounds(
    steps: dict[str, Step], seconds: float, clock: Clock, least: int = LEAST_ROUNDS
) -> list[dict[str, float]]:
    """Milliseconds of one turn each, first place rotating, until the time is up; a few rounds at least.

    The time that is up is the processor's: a machine that stood still for others has not used any.
    """
    names, found = list(steps), []
    for step in steps.values():
        step()  # whatever is made once
    end = time.process_time() + seconds * torch.get_num_threads()
    while len(found) < least or time.process_time() < end:
        first = len(found) % len(names)
        took = {}
        for name in names[first:] + names[:first]:
            start = clock()
            steps[name]()
            took[name] = 1e3 * (clock() - start)
        found.append(took)
    return found


def summary(took: list[dict[str, float]]) -> dict[str, Any]:
    middle = {name: statistics.median(turn[name] for turn in took) for name in took[0]}
    least = {name: min(turn[name] for turn in took) for name in took[0]}
    ratio = {name: statistics.median(turn["published"] / turn[name] for turn in took) for name in took[0]}
    return {
        "rounds": len(took),
        "milliseconds": {name: round(ms, 3) for name, ms in middle.items()},
        "least milliseconds": {name: round(ms, 3) for name, ms in least.items()},
        "times as fast as published": {name: round(times, 3) for name, times in ratio.items()},
    }


def measure(size: str, seconds: float, clock: Clock) -> dict[str, Any]:
    m, d = (int(n) for n in size.split("x"))
    views = draw(m, d)
    steps: dict[str, Step] = {
        name: partial(training_step, loss, views) for name, loss in {**INTL, **OTHERS}.items()
    }
    memory = {name: round(peak_bytes(step, views) / 2**20, 2) for name, step in steps.items()}
    steps["floor"] = partial(
        floor, torch.randn(m, d), torch.empty(m, d), torch.randn(m, m), torch.empty(m, m)
    )
    intl = {name: steps[name] for name in (*INTL, "floor")}
    result = summary(rounds(intl, seconds, clock))
    # apart, since some of them take seconds a turn and would leave few rounds to the rest
    others = {name: steps[name] for name in ("published", "fp32", *OTHERS)}
    turns = result["milliseconds"]
    return {
        **result,
        "over the floor": round(turns["fp32"] / turns["floor"], 3),
        "peak MiB": memory,
        "memory over published": round(memory["fp32"] / memory["published"], 3),
        "beside other losses": summary(rounds(others, seconds / 4, clock, least=3)),
    }


def sweep(axis: str, seconds: float, clock: Clock) -> dict[str, Any]:
    """Milliseconds over one of m, d, T, the others fixed, and the exponent fitted to each contender's."""
    curves: dict[str, list[float]] = {}
    for value in SWEEPS[axis]:
        at = {**FIXED, axis: value}
        views = draw(at["m"], at["d"])
        intl: dict[str, Loss] = {
            "published": partial(published, steps=at["T"]),
            "fp32": partial(ours, steps=at["T"]),
            "bf16": partial(ours, steps=at["T"], precision="bf16"),
        }
        losses = intl if axis == "T" else {**intl, **OTHERS}
        steps: dict[str, Step] = {name: partial(training_step, loss, views) for name, loss in losses.items()}
        for name, ms in summary(rounds(steps, seconds, clock))["milliseconds"].items():
            curves.setdefault(name, []).append(ms)
    exponents = {name: round(exponent(SWEEPS[axis], curve), 2) for name, curve in curves.items()}
    return {"at": SWEEPS[axis], "milliseconds": curves, "exponents": exponents}


def exponent(at: list[int], ms: list[float]) -> float:
    return statistics.linear_regression([math.log(x) for x in at], [math.log(y) for y in ms]).slope


def draw_figure(sizes: dict[str, Any], sweeps: dict[str, Any], about: dict[str, Any], file: Path) -> None:
    figure = Figure(figsize=(18, 4), layout="constrained")
    bars, peaks, *plots = figure.subplots(1, 2 + len(sweeps))
    names = ["fp32", "bf16", "floor"]
    for i, name in enumerate(names):
        heights = [result["times as fast as published"][name] for result in sizes.values()]
        bars.bar([x + 0.27 * (i - 1) for x in range(len(sizes))], heights, width=0.25, label=name)
    bars.axhline(1, color="grey", linewidth=0.8)
    bars.set_xticks(range(len(sizes)), list(sizes), fontsize=8)
    bars.set(ylabel="times as fast as published", xlabel="m x d")
    bars.legend(loc="upper right", fontsize=7)
    bars.set_ylim(top=4.4)
    for i, name in enumerate(("published", "fp32")):
        heights = [result["peak MiB"][name] for result in sizes.values()]
        peaks.bar([x + 0.35 * (i - 0.5) for x in range(len(sizes))], heights, width=0.33, label=name)
    peaks.set_yscale("log")
    peaks.set_xticks(range(len(sizes)), list(sizes), fontsize=8)
    peaks.set(ylabel="peak MiB above inputs and their gradients", xlabel="m x d")
    peaks.legend()
    for plot, (axis, found) in zip(plots, sweeps.items(), strict=True):
        for name, curve in found["milliseconds"].items():
            plot.loglog(found["at"], curve, ".-", label=f"{name}, {axis}^{found['exponents'][name]}")
        plot.set_xticks(found["at"], [str(x) for x in found["at"]])
        others = ", ".join(f"{name} = {value}" for name, value in FIXED.items() if name != axis)
        plot.set(xlabel=axis, ylabel="ms, forward and backward", title=others)
        plot.minorticks_off()
        plot.legend(fontsize=7)
    machine = f"{about['machine']['processor']}, torch {about['packages']['torch']}, {about['date'][:10]}"
    figure.suptitle(machine, fontsize=8)
    figure.savefig(file, dpi=110)


def report(size: str, result: dict[str, Any]) -> None:
    print(f"{size}, {result['rounds']} rounds; {result['over the floor']} times the floor's time, ", end="")
    print(f"{result['memory over published']} of the published algorithm's memory", flush=True)
    for part in (result, result["beside other losses"]):
        for name, ms in part["milliseconds"].items():
            ratio, peak = part["times as fast as published"][name], result["peak MiB"].get(name)
            print(f"  {name:28s}{ms:9.2f} ms {ratio:6.2f}x" + (f"{peak:9.1f} MiB" if peak else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the INTL loss.")
    parser.add_argument(
        "--threads", type=int, default=1, help="with one, processor time; with more, wall clock"
    )
    parser.add_argument("--seconds", type=float, default=5, help="of timing a size, or five sweep points")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="m x d, such as 256x2048")
    parser.add_argument("--sweeps", nargs="*", default=list(SWEEPS), choices=SWEEPS, help="over m, d or T")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    sizes = {}
    for size in arguments.sizes:
        sizes[size] = measure(size, arguments.seconds, clock)
        report(size, sizes[size])
    sweeps = {}
    for axis in arguments.sweeps:
        sweeps[axis] = sweep(axis, arguments.seconds / 5, clock)
        print(f"time over {axis}: exponents {sweeps[axis]['exponents']}", flush=True)
    settings = {"threads": arguments.threads, "clock": clock.__name__, "seconds": arguments.seconds}
    found = {"settings": settings, "sizes": sizes, "sweeps": sweeps, "environment": environment()}
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    draw_figure(sizes, sweeps, found["environment"], arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
