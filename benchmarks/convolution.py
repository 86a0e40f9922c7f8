"""A ResNet-18 step in bf16 with and without `solo_intl.host.convolution`, timed in turns in one run.

    python benchmarks/convolution.py

Writes benchmarks/convolution.json. Only the ratio of one run means anything on a shared machine.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from torchvision.models import resnet18

from solo_intl.engine.run_folder import environment, write_json
from solo_intl.host.convolution import install_products
from solo_intl.host.stem import install_stem

ROUNDS = 9
CASES = {  # images, side in px, stride of the small-image stem
    "digits": (128, 16, 1),
    "fashion-mnist": (128, 28, 2),
    "cifar": (128, 32, 1),
}


def network(stride: int, products: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    model = resnet18()
    install_stem(model, "cifar", stride)
    if products:
        install_products(model)
    return model.to(memory_format=torch.channels_last)


def step_seconds(model: torch.nn.Module, images: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(images)
    out.float().square().mean().backward()
    return time.perf_counter() - started


def main() -> None:
    results = {}
    for name, (batch, side, stride) in CASES.items():
        images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
        models = {"stock": network(stride, False), "products": network(stride, True)}
        for model in models.values():
            step_seconds(model, images)
        times: dict[str, list[float]] = {which: [] for which in models}
        for _ in range(ROUNDS):
            for which, model in models.items():
                times[which].append(step_seconds(model, images))
        medians = {which: round(statistics.median(seconds), 4) for which, seconds in times.items()}
        ratios = [a / b for a, b in zip(times["stock"], times["products"], strict=True)]
        results[name] = {"seconds": medians, "ratio": round(statistics.median(ratios), 2)}
        print(name, results[name], flush=True)
    file = Path(__file__).with_suffix(".json")
    write_json(file, {"rounds": ROUNDS, "results": results, "environment": environment()})
    print(file)


if __name__ == "__main__":
    main()
