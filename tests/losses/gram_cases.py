"""What the tests of the loss from Gram matrices share: the loss read off whitened embeddings, embeddings of
many spectra, and a count of matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.utils._python_dispatch import TorchDispatchMode

from solo_intl.losses import intl_loss_func, iternorm, trace_loss

Parts = tuple[Tensor, Tensor, Tensor]


def from_whitened(views: list[Tensor], target: Tensor | None, steps: int) -> Parts:
    first, *others = [
        iternorm(z, iterations=steps) for z in (views if target is None else [target.detach(), *views])
    ]
    invariance = sum(2 - 2 * cosine_similarity(first, z, dim=1, eps=0).mean() for z in others) / len(others)
    trace = sum(trace_loss(z) for z in others) / len(others)
    trace = trace + trace_loss(first) if target is None else trace
    return invariance + 0.1 * trace, invariance, trace


def from_gram(views: list[Tensor], target: Tensor | None, steps: int) -> Parts:
    return intl_loss_func(views, target, beta=0.1, iterations=steps)


def draw(count: int, m: int, d: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(m, d, generator=generator, dtype=torch.float64) + 3
    return [common + 0.3 * torch.randn(m, d, generator=generator, dtype=torch.float64) for _ in range(count)]


def leaves(tensors: list[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [z.to(dtype).detach().requires_grad_() for z in tensors]


def gradients(loss: Tensor, views: list[Tensor]) -> Tensor:
    return torch.stack(torch.autograd.grad(loss, views))


def with_spectrum(d: int, decay: Callable[[Tensor], Tensor]) -> list[Tensor]:
    def one() -> Tensor:
        u, _, vh = torch.linalg.svd(torch.randn(M, d, dtype=torch.float64), full_matrices=False)
        return u * decay(torch.linspace(0, 1, M, dtype=torch.float64)) @ vh

    common = one()
    return [common + 0.3 * one() for _ in range(2)]


def near_rank_one(d: int, residual: float) -> list[Tensor]:
    common = torch.randn(M, 1, dtype=torch.float64) @ torch.randn(1, d, dtype=torch.float64)
    return [common + residual * torch.randn(M, d, dtype=torch.float64) for _ in range(2)]


M = 64
SPECTRA: dict[str, Callable[[int], list[Tensor]]] = {
    "flat": lambda d: draw(2, M, d),
    "mean 100 times the spread": lambda d: [z + 100 for z in draw(2, M, d)],
    "power law": lambda d: with_spectrum(d, lambda t: 1 / (1 + 63 * t)),
    "condition 1e2": lambda d: with_spectrum(d, lambda t: 10 ** (-t)),
    "condition 1e8": lambda d: with_spectrum(d, lambda t: 10 ** (-4 * t)),
    "condition 1e16": lambda d: with_spectrum(d, lambda t: 10 ** (-8 * t)),
    "rank 3": lambda d: [z[:, :3] @ draw(1, 3, d, seed=1)[0] for z in draw(2, M, d)],
    "rank 1 and a tenth": lambda d: near_rank_one(d, 1e-1),
    "rank 1 and a thousandth": lambda d: near_rank_one(d, 1e-3),
    "rows from 1 to 1e-6": lambda d: [z * torch.logspace(0, -6, M)[:, None] for z in draw(2, M, d)],
}


class Products(TorchDispatchMode):
    """Multiplications in the matrix products that run inside, by whether a side is longer than m."""

    FIRST = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1}

    def __init__(self, m: int) -> None:
        super().__init__()
        self.m, self.long, self.short = m, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.rstrip("_")
        if name in self.FIRST:
            a, b = args[self.FIRST[name] :][:2]
            work = a.numel() * b.shape[-1]
            if 1 in (*a.shape[-2:], b.shape[-1]):
                pass  # a matrix by a vector, or of rank one
            elif max(*a.shape[-2:], b.shape[-1]) > self.m:
                self.long += work
            else:
                self.short += work
        return func(*args, **(kwargs or {}))
