"""Two-view 32-px images per second and core: stock augmentation and `data.augment=batched`, in turns in one
run.

    python benchmarks/loader.py

From the data set to the views as the training step gets them, in one process on one thread, no worker. Time
is that of the processor, which a shared machine disturbs least; only the ratios travel. Writes
benchmarks/loader.json and docs/figures/loader.png.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from solo_intl import host
from solo_intl.config import SCRIPTS
from solo_intl.data import DATASETS, ImageDataset, WithIndex
from solo_intl.data.batched import BatchedViews, MemoryImages, as_is
from solo_intl.data.dataset import ArraySource
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.figures import COLOURS, plt

BATCH, STOCK_BATCHES, BATCHED_BATCHES = 256, 1, 4
VIEWS = {  # each file gives two views
    "INTL on CIFAR (asymmetric.yaml)": "asymmetric",
    "with blur (symmetric.yaml)": "symmetric",
}
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "loader.png"


def images() -> np.ndarray:
    """CIFAR's size and format; the time depends little on the content."""
    generator = torch.Generator().manual_seed(0)
    coarse = 255 * torch.rand(BATCH * BATCHED_BATCHES, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return smooth.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def stock(pixels: np.ndarray, views: list[DictConfig], mean: Any, std: Any) -> Callable[[], float]:
    source = ArraySource(pixels, np.zeros(len(pixels), dtype=int), ["class"], "train")
    transform = host.build_views(views, mean, std)
    loader = DataLoader(WithIndex(ImageDataset(source, transform=transform)), BATCH, shuffle=True)

    def rate() -> float:
        started = time.process_time()
        for _, _ in zip(range(STOCK_BATCHES), loader, strict=False):
            pass
        return STOCK_BATCHES * BATCH / (time.process_time() - started)

    return rate


def batched(pixels: np.ndarray, views: list[DictConfig], mean: Any, std: Any) -> Callable[[], float]:
    source = ArraySource(pixels, np.zeros(len(pixels), dtype=int), ["class"], "train")
    make = BatchedViews([host.plain(view) for view in views], mean, std, seed=0)
    loader = DataLoader(MemoryImages(ImageDataset(source)), BATCH, shuffle=True, collate_fn=as_is)

    def rate() -> float:
        started = time.process_time()
        for step, (_, whole, _) in enumerate(loader):
            make(whole, step)
        return len(pixels) / (time.process_time() - started)

    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    pixels, (mean, std) = images(), (DATASETS["cifar10"].mean, DATASETS["cifar10"].std)
    results: dict[str, Any] = {}
    for title, name in VIEWS.items():
        views = list(OmegaConf.load(SCRIPTS / "pretrain" / "cifar" / "augmentations" / f"{name}.yaml"))
        feeds = {feed.__name__: feed(pixels, views, mean, std) for feed in (stock, batched)}
        rates: dict[str, list[float]] = {key: [] for key in feeds}
        for round_ in range(rounds + 1):
            for key, rate in feeds.items():
                found = rate()
                if round_:  # the first warms up
                    rates[key].append(found)
        ratios = [b / s for s, b in zip(rates["stock"], rates["batched"], strict=True)]
        results[title] = {
            "images per second and core": {key: round(statistics.median(r)) for key, r in rates.items()},
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
        }
        print(title, results[title], flush=True)
    about = environment()
    about["packages"]["pillow"] = metadata.version("pillow")
    file = Path(__file__).with_suffix(".json")
    write_json(file, {"rounds": rounds, "batch": BATCH, "results": results, "environment": about})
    print(file, draw(results, about))


def draw(results: dict[str, Any], about: dict[str, Any]) -> Path:
    """Bars of both rates, each pair with its ratio."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, key in enumerate(("stock", "batched")):
        values = [result["images per second and core"][key] for result in results.values()]
        positions = [j + (i - 0.5) * 0.35 for j in range(len(values))]
        axes.bar_label(axes.bar(positions, values, 0.35, color=COLOURS[i], label=key), fmt="%d", fontsize=8)
    names = [f"{title}\n{result['ratio']:.1f} x" for title, result in results.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("two-view 32-px images per second and core")
    axes.legend(frameon=False)
    packages = about["packages"]
    axes.set_title(
        f"{about['machine']['processor']}, one thread, torch {packages['torch']}, "
        f"Pillow {packages['pillow']}, {about['date'][:10]}",
        fontsize=7,
    )
    figure.savefig(FIGURE, dpi=120)
    return FIGURE


if __name__ == "__main__":
    main()
