"""The constants of docs/scaling.md: rates of the loss's and of ResNet-50's products, and of the gather.

    python benchmarks/scaling.py

Multiplications are counted (ResNet-50's by torch's own counter, the loss's by the formulas of docs/loss.md)
and divided by measured time. The gather is timed between two processes of this machine. From these follow
the batches at which the loss takes as long as the backbone. Writes benchmarks/scaling.json and
docs/figures/scaling.png.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.figures import COLOURS, plt
from solo_intl.losses import INTLLoss, intl_loss_func, trace_loss_floor

WIDTH, PER_RANK, SIDE, VIEWS = 8192, 64, 224, 2
BATCHES = [128, 256, 512, 1024, 2048]
GATHERED = 128  # images of each of two processes
GROUPS = [64, 128, 256, 512, 1024, 2048, 4096]
RANKS = [1, 2, 4, 8, 16, 32, 64, 128]
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "scaling.png"


def loss_work(m: float, d: int, n: int = VIEWS) -> float:
    """Multiplications of the loss, forward and backward, T = 4, n views and no target."""
    if m > d:
        return 5 * n * d**2 * m + 16 * n * d**3
    return (5 * n - 3) * m**2 * d + (21 * n - 3) * m**3


def backbone_work() -> int:
    """Multiplications of ResNet-50 on one image, forward and backward."""
    with torch.device("meta"):
        model, image = resnet50(), torch.randn(1, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as counter:
        model(image).sum().backward()
    return int(counter.get_total_flops()) // 2


def timed(step: Callable[[], None], repeats: int) -> float:
    step()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def loss_seconds(m: int, repeats: int) -> float:
    common = torch.randn(m, WIDTH)
    views = [(common + 0.5 * torch.randn(m, WIDTH)).requires_grad_() for _ in range(VIEWS)]

    def step() -> None:
        for z in views:
            z.grad = None
        intl_loss_func(views).loss.backward()

    return timed(step, repeats)


def backbone_seconds(images: int, half: bool, repeats: int) -> float:
    """Of one image."""
    torch.manual_seed(0)
    model = resnet50().to(memory_format=torch.channels_last)
    batch = torch.randn(images, 3, SIDE, SIDE).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(batch)
        out.float().square().mean().backward()

    return timed(step, repeats) / images


def _rank(rank: int, folder: str, repeats: int) -> None:
    torch.set_num_threads(1)
    store = (Path(folder) / "store").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    seconds: dict[str, float] = {}

    def clocked(name: str, collective: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> None:
            started = time.perf_counter()
            collective(*args)
            tensors: list[Tensor] = args[0] if isinstance(args[0], list) else [args[0]]
            if tensors[0].is_floating_point():  # not the few numbers by which ranks agree
                seconds[name] = seconds.get(name, 0) + time.perf_counter() - started
                seconds[f"{name} bytes"] = sum(t.numel() * t.element_size() for t in tensors)

        return run

    dist.all_gather, dist.all_reduce = (
        clocked(name, getattr(dist, name)) for name in ("all_gather", "all_reduce")
    )
    views = [torch.randn(GATHERED, WIDTH, requires_grad=True) for _ in range(VIEWS)]
    criterion = INTLLoss(gather_distributed=True)
    for _ in range(repeats + 1):
        dist.barrier()
        criterion(views).loss.backward()
    if rank == 0:
        found = {name: x if "bytes" in name else x / (repeats + 1) for name, x in seconds.items()}
        write_json(Path(folder) / "found.json", found)
    dist.barrier()
    dist.destroy_process_group()


def gather(repeats: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [spawn.Process(target=_rank, args=(rank, folder, repeats)) for rank in range(2)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        found = json.loads((Path(folder) / "found.json").read_text())
    return {
        name: {
            "bytes": found[f"{name} bytes"],
            "formula": VIEWS * 2 * GATHERED * WIDTH * 4,
            "milliseconds": round(1e3 * found[name], 1),
            "GB/s": round(found[f"{name} bytes"] / found[name] / 1e9, 2),
        }
        for name in ("all_gather", "all_reduce")
    }


def crossing(per_image: float, faster: float, cubes_only: bool) -> int:
    """The global batch at which a rank's loss takes as long as its backbone on PER_RANK images per view.

    faster: products a second of the backbone over those of the loss.
    """
    budget, low, high = VIEWS * PER_RANK * per_image / faster, 1.0, 1e6
    while high - low > 0.5:
        m = (low + high) / 2
        work = (21 * VIEWS - 3) * m**3 if cubes_only else loss_work(m, WIDTH)
        low, high = (m, high) if work < budget else (low, m)
    return round(low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=8, help="of ResNet-50 at once")
    parser.add_argument("--largest", type=int, default=BATCHES[-1], help="batch of the loss")
    given = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    per_image = backbone_work()
    backbone: dict[str, Any] = {}
    for name, half in (("fp32", False), ("bf16", True)):
        seconds = backbone_seconds(given.images, half, given.repeats)
        backbone[name] = {
            "seconds an image": round(seconds, 4),
            "GMAC/s": round(per_image / seconds / 1e9, 1),
        }
        print("ResNet-50", name, backbone[name], flush=True)
    losses: dict[str, Any] = {}
    for m in (m for m in BATCHES if m <= given.largest):
        seconds = loss_seconds(m, given.repeats)
        rate = loss_work(m, WIDTH) / seconds / 1e9
        losses[str(m)] = {"seconds": round(seconds, 4), "GMAC/s": round(rate, 1)}
        print(f"loss {m} x {WIDTH}", losses[str(m)], flush=True)
    rate = losses[str(given.largest)]["GMAC/s"]
    speeds = {
        "equal rates": 1.0,
        **{f"{name}, measured here": x["GMAC/s"] / rate for name, x in backbone.items()},
        "16 times (bf16 against fp32 on an A100, nominal)": 16.0,
    }
    found = {
        "multiplications of ResNet-50 an image, forward and backward": per_image,
        "backbone": backbone,
        "loss": losses,
        "gather": gather(given.repeats),
        "images a rank": PER_RANK,
        "d": WIDTH,
        "batch where the loss takes as long as the backbone": {
            name: {
                "backbone over loss, products a second": round(faster, 2),
                "the cubes alone": crossing(per_image, faster, True),
                "the whole loss": crossing(per_image, faster, False),
            }
            for name, faster in speeds.items()
        },
        "floor of the trace loss an image, T = 4": {k: round(trace_loss_floor(k) / k, 4) for k in GROUPS},
    }
    print(found["gather"], found["batch where the loss takes as long as the backbone"], sep="\n")
    about, file = environment(), Path(__file__).with_suffix(".json")
    write_json(file, {"results": found, "environment": about})
    print(file, draw(found, about))


def draw(found: dict[str, Any], about: dict[str, Any]) -> Path:
    """Seconds of a rank over the global batch, from the measured rates."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    batches = [PER_RANK * ranks for ranks in RANKS]
    rate = 1e9 * list(found["loss"].values())[-1]["GMAC/s"]
    for colour, (name, row) in zip(COLOURS, found["backbone"].items(), strict=False):
        level = VIEWS * PER_RANK * row["seconds an image"]
        axes.plot(batches, [level] * len(batches), "--", color=colour, label=f"ResNet-50, {name}")
    whole = [loss_work(m, WIDTH) / rate for m in batches]
    axes.plot(batches, whole, ".-", color=COLOURS[2], label="loss of the global batch")
    for colour, k in zip(COLOURS[3:], (256, 1024), strict=True):
        groups = [loss_work(min(k, m), WIDTH) / rate for m in batches]
        axes.plot(batches, groups, ".-", color=colour, label=f"loss in groups of {k}")
    axes.loglog()
    axes.set_xticks(batches, [str(m) for m in batches], fontsize=8)
    axes.minorticks_off()
    axes.set(xlabel=f"global batch, {PER_RANK} images a rank, d = {WIDTH}", ylabel="seconds a step of a rank")
    axes.legend(frameon=False, fontsize=8)
    machine = f"{about['machine']['processor']}, torch {about['packages']['torch']}, {about['date'][:10]}"
    axes.set_title(machine, fontsize=7)
    figure.savefig(FIGURE, dpi=120)
    return FIGURE


if __name__ == "__main__":
    main()
