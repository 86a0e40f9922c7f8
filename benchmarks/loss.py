"""Time and peak memory of the INTL loss, forward and backward, beside the published algorithm and its floor.

`python benchmarks/loss.py [--threads 2] [--seconds 20] [--sizes 256x2048 ...]` prints a table and writes
benchmarks/loss.json. Contenders take turns in one process, so that only ratios of one run are compared:

- published: Algorithm 1 of the paper and its two losses, as its equations stand, differentiated by autograd;
- ours: `intl_loss_func` at each precision that this machine can run;
- floor: the matrix products that ours cannot do without, and nothing else, on arrays made beforehand.

Peak memory is the most that the allocator handed out above the inputs and their gradients.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from solo_intl.losses import default_beta, intl_loss_func

SIZES = ["256x2048", "128x4096", "256x8192", "1024x8192"]
STEPS = 4
# docs/loss.md, "What it costs": two views, T = 4
LONG_PRODUCTS, SHORT_PRODUCTS = 7, 39


def published(views: list[Tensor], beta: float) -> Tensor:
    """The diagonal of the covariance is taken from row norms: the paper's text, and cheaper than a product."""
    whitened = []
    for z in views:
        d = z.shape[1]
        zc = z - z.mean(1, keepdim=True)
        sigma = zc @ zc.T / (d - 1)
        trace = sigma.trace()
        sigma_n, p = sigma / trace, torch.eye(len(z), dtype=z.dtype)
        for _ in range(STEPS):
            p = (3 * p - p @ p @ p @ sigma_n) / 2
        whitened.append(p @ zc / trace.sqrt())
    trace_loss = sum((1 - (w**2).sum(1) / (d - 1)).square().sum() for w in whitened)
    cosine = torch.nn.functional.cosine_similarity(*whitened, dim=1)
    return 2 - 2 * cosine.mean() + beta * trace_loss


def ours(precision: str) -> Callable[[list[Tensor], float], Tensor]:
    return lambda views, beta: intl_loss_func(views, beta=beta, iterations=STEPS).loss


def training_step(loss: Callable[[list[Tensor], float], Tensor], views: list[Tensor]) -> Callable[[], None]:
    beta = default_beta(len(views[0]))

    def run() -> None:
        for z in views:
            z.grad = None
        loss(views, beta).backward()

    return run


def floor(m: int, d: int) -> Callable[[], None]:
    x, wide = torch.randn(m, d), torch.empty(m, d)
    a, square = torch.randn(m, m), torch.empty(m, m)

    def run() -> None:
        for i in range(LONG_PRODUCTS):
            torch.mm(x, x.T, out=square) if i < 3 else torch.mm(a, x, out=wide)
        for _ in range(SHORT_PRODUCTS):
            torch.mm(a, a, out=square)

    return run


def peak_bytes(run: Callable[[], None]) -> int:
    """The most allocated at once while it runs, by the allocator's own record."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def rounds(contenders: dict[str, Callable[[], None]], seconds: float) -> Iterator[dict[str, float]]:
    """Milliseconds of one turn each, in rotating order, until the time is up (three rounds at least)."""
    names, end, count = list(contenders), time.perf_counter() + seconds, 0
    while count < 3 or time.perf_counter() < end:
        took = {}
        for name in names[count % len(names) :] + names[: count % len(names)]:
            start = time.perf_counter()
            contenders[name]()
            took[name] = 1e3 * (time.perf_counter() - start)
        count += 1
        yield took


def measure(size: str, seconds: float, precisions: list[str]) -> dict[str, object]:
    m, d = (int(n) for n in size.split("x"))
    common = torch.randn(m, d)
    views = [(common + 0.5 * torch.randn(m, d)).requires_grad_() for _ in range(2)]
    steps = {"published": training_step(published, views)}
    steps |= {f"ours {precision}": training_step(ours(precision), views) for precision in precisions}
    gradients = sum(z.numel() * z.element_size() for z in views)

    def fresh(run: Callable[[], None]) -> Callable[[], None]:
        def step() -> None:  # gradients of the last call are not to be freed inside
            run()

        return step

    memory = {}
    for name, run in steps.items():
        for z in views:
            z.grad = None
        memory[name] = (peak_bytes(run)) / 2**20
    contenders = {**steps, "floor": floor(m, d)}
    for run in contenders.values():
        run()
    took = list(rounds(contenders, seconds))
    ms = {name: statistics.median(turn[name] for turn in took) for name in contenders}
    ratio = {
        name: statistics.median(turn["published"] / turn[name] for turn in took)
        for name in contenders
        if name != "published"
    }
    return {"size": size, "rounds": len(took), "ms": ms, "published_over": ratio, "peak_mib": memory,
            "gradients_mib": gradients / 2**20}


if __name__ == "__main__":
    import sys
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv)>1 else 1)
    for s in SIZES[:int(sys.argv[3]) if len(sys.argv)>3 else 4]:
        r=measure(s, float(sys.argv[2]) if len(sys.argv)>2 else 5, ["fp32"])
        print(json.dumps(r))
