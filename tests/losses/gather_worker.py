"""All ranks of test_gather.py, run as a script: WORLD_SIZE FOLDER.

A script of its own so that torch is imported once, before the ranks are forked and before any of it has run.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from solo_intl.losses import INTLLoss

SPOILED: dict[str, Callable[[list[torch.Tensor]], object]] = {
    "one view": lambda views: views[:1],
    "no view": lambda views: [],
    "no list": lambda views: "ab",
    "three dimensions": lambda views: [views[0], views[1][None]],
    "views of two shapes": lambda views: [views[0], views[1][:, :-1]],
    "another width": lambda views: [z[:, :-1] for z in views],
    "another precision": lambda views: [z.float() for z in views],
    "integers": lambda views: [z.long() for z in views],
}


def counted(name: str, traffic: dict[str, int]) -> None:
    """Let torch's collective add the floating numbers that it moves to traffic."""
    collective = getattr(dist, name)

    def run(tensors: torch.Tensor | list[torch.Tensor], *args: object) -> object:
        moved = tensors if isinstance(tensors, list) else [tensors]
        traffic[name] = traffic.get(name, 0) + sum(t.numel() for t in moved if t.is_floating_point())
        return collective(tensors, *args)

    setattr(dist, name, run)


def run_rank(rank: int, world_size: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=40),
    )
    results: dict[str, object] = {}
    traffic: dict[str, int] = {}
    counted("all_gather", traffic)
    counted("all_reduce", traffic)
    for name, case in torch.load(folder / "cases.pt").items():
        count, sizes = case["counts"][rank], case["sizes"]
        views = [z.split(sizes)[rank].clone().requires_grad_() for z in case["views"][:count]]
        if rank == world_size - 1 and "spoiled" in case:
            views = SPOILED[case["spoiled"]](views)
        target = None if case["target"] is None else case["target"].split(sizes)[rank]
        criterion = INTLLoss(case["beta"], axis=case["axis"], gather_distributed=True, check_finite=True)
        traffic.clear()
        try:
            out = criterion(views, target)
        except ValueError as error:
            results[name] = str(error)
            continue
        out.loss.backward()
        results[name] = [part.detach() for part in out], [z.grad for z in views], dict(traffic)
    torch.save(results, folder / f"rank{rank}.pt")
    dist.barrier()  # nobody leaves while another still talks
    dist.destroy_process_group()


def main(world_size: int, folder: Path) -> int:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=run_rank, args=(rank, world_size, folder)) for rank in range(world_size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        process.kill()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
