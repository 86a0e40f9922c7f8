"""Gathering the global batch with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from .precision import compute_dtype
from .validation import check_views


class _AllGather(torch.autograd.Function):
    """[n, m, d] on each of W ranks -> [n, W m, d] on all, ranks in order.

    Every rank computes the loss of the global batch, so a local embedding's gradient is a sum over ranks,
    W times the one-process value, which the mean of DistributedDataParallel turns back into that value.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        local = local.contiguous()
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local)
        ctx.local_size = local.shape[1]
        return torch.cat(parts, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(1, dist.get_rank() * ctx.local_size, ctx.local_size)


def gather_views(views: Sequence[Tensor], target: Tensor | None) -> tuple[Sequence[Tensor], Tensor | None]:
    """Views and target [m, d] of this rank -> those of the global batch [W m, d], in float32 (or float64).

    Outside a process group, or alone in one, they come back as they are. The target is gathered without
    gradient. Input that is wrong on any rank, or ranks that differ in shape, number of views, target or
    precision, are a ValueError on every rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return views, target
    dtype = _agree(views, target)
    gathered = list(_AllGather.apply(torch.stack([z.to(dtype) for z in views])))
    if target is not None:
        target = _AllGather.apply(target.detach().to(dtype)[None])[0]
    return gathered, target


def _agree(views: Sequence[Tensor], target: Tensor | None) -> torch.dtype:
    """The precision to gather in, once every rank has said that its input is valid and like the others'."""
    # A collective that one rank misses, or joins with another shape, hangs or corrupts. So no rank may raise
    # before all have exchanged a message of fixed size: [valid, m, d, views, has target, bits].
    mistake: Exception | None = None
    row, dtype, device = [0] * 6, torch.float32, torch.device("cpu")
    try:
        check_views(views, target, smallest=0)  # one image per rank is fine: the global batch is what counts
        dtype = compute_dtype([*views, *([] if target is None else [target])])
        device = views[0].device
        row = [1, *views[0].shape, len(views), int(target is not None), torch.finfo(dtype).bits]
    except (TypeError, ValueError) as error:
        mistake = error
    if dist.get_backend() == dist.Backend.NCCL:
        device = torch.device("cuda")  # where an invalid view lies says nothing
    mine = torch.tensor(row, device=device)
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    rows = torch.stack(gathered).tolist()
    if mistake is None and all(row == rows[0] for row in rows):
        return dtype
    found = "; ".join(f"rank {rank}: {_describe(*row)}" for rank, row in enumerate(rows))
    own = "" if mistake is None else f" (rank {dist.get_rank()}: {mistake})"
    raise ValueError(
        f"gather_distributed needs the same batch size and views on every rank; found {found}{own}"
    ) from mistake


def _describe(valid: int, m: int, d: int, views: int, has_target: int, bits: int) -> str:
    if not valid:
        return "wrong input (its own error says which)"
    return f"batch size {m}, d = {d}, {views} view(s){', a target' if has_target else ''} in float{bits}"
