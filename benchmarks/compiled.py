"""torch.compile on a CPU, its warm-up counted: python benchmarks/compiled.py

A plain INTL step of ResNet-18 with the CIFAR stem (two views, projector, loss, SGD), the network as it is and
compiled, fp32 and bf16, in turns in one run. The compiler's cache is empty at the start. Writes
benchmarks/compiled.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from solo_intl.engine.run_folder import environment, write_json
from solo_intl.host.convolution import install_products
from solo_intl.host.stem import install_stem
from solo_intl.losses import intl_loss_func

BATCH, SIDE, WIDTH = 128, 32, 2048
# name: (bf16, convolutions of small maps as products, compiled)
CASES = {
    "fp32": (False, False, False),
    "fp32, compiled": (False, False, True),
    "bf16": (True, True, False),
    "bf16, compiled": (True, True, True),
    "bf16, compiled, stock convolutions": (True, False, True),
}
DEFAULT = ["bf16", "bf16, compiled"]  # each other compiled one takes a minute and a half more


def network(products: bool) -> nn.Module:
    torch.manual_seed(0)
    backbone = resnet18()
    install_stem(backbone, "cifar", 1)
    if products:
        install_products(backbone)
    backbone.fc = nn.Identity()
    hidden = [nn.Linear(512, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    more = [nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)]
    return nn.Sequential(backbone, *hidden, *more).to(memory_format=torch.channels_last)


def stepper(half: bool, products: bool, compiled: bool, images: list[Tensor]) -> Callable[[], float]:
    model = network(products)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    run: Any = torch.compile(model) if compiled else model

    def step() -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            views = [run(x).float() for x in images]
        intl_loss_func(views).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - started

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=DEFAULT, choices=CASES)
    given = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    images = [torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last) for _ in range(2)]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        steps = {name: stepper(*CASES[name], images) for name in given.cases}
        first: dict[str, float] = {}
        for name, step in steps.items():
            first[name] = step() + step()
            print(f"{name}: {first[name]:.1f} s for the first two steps", flush=True)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(given.rounds):
            for name, step in steps.items():
                times[name].append(step())
    results = {name: summary(name, times, first[name]) for name in steps}
    for name, result in results.items():
        print(name, result)
    file = Path(__file__).with_suffix(".json")
    settings = {"rounds": given.rounds, "batch": BATCH}
    write_json(file, {**settings, "results": results, "environment": environment()})
    print(file)


def summary(name: str, times: dict[str, list[float]], first: float) -> dict[str, Any]:
    """Seconds a step; for a compiled one also its ratio and the steps after which it has paid for itself."""
    seconds = statistics.median(times[name])
    result: dict[str, Any] = {"seconds": round(seconds, 3), "warm-up seconds": round(first - 2 * seconds, 1)}
    plain = name.split(",")[0]
    if plain != name and plain in times:
        pairs = zip(times[plain], times[name], strict=True)
        result["times as fast"] = round(statistics.median(a / b for a, b in pairs), 2)
        gain = statistics.median(times[plain]) - seconds
        result["steps until it has paid"] = round(result["warm-up seconds"] / gain) if gain > 0 else None
    return result


if __name__ == "__main__":
    main()
