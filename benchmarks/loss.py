"""Time and peak memory of the INTL loss, forward and backward, beside the published algorithm and the floor.

`python benchmarks/loss.py` prints a table and writes benchmarks/loss.json (see `--help`).
The contenders take turns in one process, so that only ratios within one run are compared:

- published: the paper's algorithm as its equations stand, differentiated by autograd. The trace loss reads
  the covariance's diagonal off row norms; "published, full covariance" makes the whole matrix first;
- fp32, bf16: `intl_loss_func` at each precision;
- floor: the matrix products of `intl_loss_func` (docs/loss.md, "What it costs") on ready arrays, no more.

On a machine that others use too, `--threads 1 --cpu-time` gives fair ratios still: it times this process.
Peak memory is the most that the allocator held at once above the inputs and their gradients.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.profiler import ProfilerActivity, profile

from solo_intl.engine.run_folder import environment
from solo_intl.losses import default_beta, intl_loss_func

SIZES = ["256x2048", "128x4096", "256x8192", "1024x8192"]
STEPS = 4
# two views, T = 4: products of m x m by m x d size, and of m x m by m x m
LONG, SHORT = 7, 39
Loss = Callable[[list[Tensor], float], Tensor]
Step = Callable[[], None]


def published(views: list[Tensor], beta: float, *, full_covariance: bool) -> Tensor:
    d = views[0].shape[1]
    whitened, traces = [], []
    for z in views:
        zc = z - z.mean(1, keepdim=True)
        sigma = zc @ zc.T / (d - 1)
        trace = sigma.trace()
        sigma_n, p = sigma / trace, torch.eye(len(z))
        for _ in range(STEPS):
            p = (3 * p - p @ p @ p @ sigma_n) / 2
        z_hat = p @ zc / trace.sqrt()
        diagonal = (z_hat @ z_hat.T).diagonal() if full_covariance else z_hat.square().sum(1)
        traces.append((1 - diagonal / (d - 1)).square().sum())
        whitened.append(z_hat)
    return 2 - 2 * cosine_similarity(*whitened, dim=1).mean() + beta * sum(traces)


def ours(views: list[Tensor], beta: float, *, precision: str) -> Tensor:
    return intl_loss_func(views, beta=beta, iterations=STEPS, precision=precision).loss


def training_step(loss: Loss, views: list[Tensor]) -> None:
    for z in views:
        z.grad = None
    loss(views, default_beta(len(views[0]))).backward()


def floor(x: Tensor, wide: Tensor, a: Tensor, square: Tensor) -> None:
    for i in range(LONG):
        torch.mm(x, x.T, out=square) if i < 3 else torch.mm(a, x, out=wide)
    for _ in range(SHORT):
        torch.mm(a, a, out=square)


def peak_bytes(step: Step, views: list[Tensor]) -> int:
    step()  # whatever is made once
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


def rounds(steps: dict[str, Step], seconds: float, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Milliseconds of one turn each, first place rotating, until the time is up; five rounds at least."""
    names, end, count = list(steps), time.perf_counter() + seconds, 0
    while count < 5 or time.perf_counter() < end:
        first = count % len(names)
        took = {}
        for name in names[first:] + names[:first]:
            start = clock()
            steps[name]()
            took[name] = 1e3 * (clock() - start)
        count += 1
        yield took


def measure(size: str, seconds: float, clock: Callable[[], float]) -> dict[str, Any]:
    m, d = (int(n) for n in size.split("x"))
    common = torch.randn(m, d)
    views = [(common + 0.5 * torch.randn(m, d)).requires_grad_() for _ in range(2)]
    losses: dict[str, Loss] = {
        "published": partial(published, full_covariance=False),
        "published, full covariance": partial(published, full_covariance=True),
        "fp32": partial(ours, precision="fp32"),
        "bf16": partial(ours, precision="bf16"),
    }
    steps: dict[str, Step] = {name: partial(training_step, loss, views) for name, loss in losses.items()}
    memory = {name: peak_bytes(step, views) / 2**20 for name, step in steps.items()}
    steps["floor"] = partial(
        floor, torch.randn(m, d), torch.empty(m, d), torch.randn(m, m), torch.empty(m, m)
    )
    steps["floor"]()
    took = list(rounds(steps, seconds, clock))
    return {
        "rounds": len(took),
        "milliseconds": {name: round(statistics.median(turn[name] for turn in took), 2) for name in steps},
        "times as fast as published": {
            name: round(statistics.median(turn["published"] / turn[name] for turn in took), 2)
            for name in steps
        },
        "peak MiB": {name: round(peak, 2) for name, peak in memory.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the INTL loss.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="of the process, instead of the wall clock's")
    parser.add_argument("--seconds", type=float, default=20, help="of timing for each size")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="m x d of the embeddings, such as 256x2048")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    results = {}
    for size in arguments.sizes:
        results[size] = measure(size, arguments.seconds, clock)
        print(f"{size}, {results[size]['rounds']} rounds")
        for name, ms in results[size]["milliseconds"].items():
            ratio = results[size]["times as fast as published"][name]
            peak = results[size]["peak MiB"].get(name)
            print(f"  {name:28s}{ms:9.2f} ms {ratio:6.2f}x" + (f"{peak:9.1f} MiB" if peak else ""))
    arguments.out.write_text(json.dumps({"results": results, "environment": environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
