"""How far rounding takes the INTL loss and its gradient from fp64: python benchmarks/precision.py

Two views, T = 4. In fp32, beside a loss read off whitened embeddings in fp32; and with the products that make
the Gram matrices in bf16 where the processor has it, and with their factors rounded to the 7 bits of bf16 and
the 10 of TF32, which any machine can do. Errors of gradients are relative to their norm. Writes
benchmarks/precision.json.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rounded import Rounded
from torch import Tensor
from torch.nn.functional import cosine_similarity

from solo_intl.engine.run_folder import environment, write_json
from solo_intl.losses import intl_loss_func, iternorm, trace_loss

BETA, SEEDS = 0.05, range(3)
Draw = Callable[[int, int], list[Tensor]]


def pair(one: Callable[[], Tensor]) -> list[Tensor]:
    """Two views of what `one` draws, a tenth of their energy their own."""
    common = one()
    return [common + 0.3 * one() for _ in range(2)]


def with_spectrum(decay: Callable[[Tensor], Tensor]) -> Draw:
    def draw(m: int, d: int) -> list[Tensor]:
        def one() -> Tensor:
            u, _, vh = torch.linalg.svd(torch.randn(m, d, dtype=torch.float64), full_matrices=False)
            return u * decay(torch.linspace(0, 1, m, dtype=torch.float64)) @ vh

        return pair(one)

    return draw


def near(rows: bool, residual: float) -> Draw:
    """Embeddings near one common row, or near one direction that images are spread along."""

    def draw(m: int, d: int) -> list[Tensor]:
        common = torch.randn(1, d, dtype=torch.float64)
        common = common if rows else torch.randn(m, 1, dtype=torch.float64) @ common
        rest = pair(lambda: torch.randn(m, d, dtype=torch.float64))
        return [common + residual * z for z in rest]

    return draw


TRAINING: dict[str, Draw] = {
    "flat": with_spectrum(torch.ones_like),
    "power law": with_spectrum(lambda t: 1 / (1 + 63 * t)),
    "condition 1e2": with_spectrum(lambda t: 10 ** (-t)),
    "condition 1e8": with_spectrum(lambda t: 10 ** (-4 * t)),
    "one common direction, residual 0.1": near(False, 0.1),
}
COLLAPSE: dict[str, Draw] = {
    "independent rows": lambda m, d: pair(lambda: torch.randn(m, d, dtype=torch.float64)),
    **{f"one common row, residual {r}": near(True, r) for r in (0.1, 0.01, 0.001)},
    **{f"one common direction, residual {r}": near(False, r) for r in (0.01, 0.001)},
}
NARROW, WIDE = [(64, 256), (128, 1024)], [(256, 2048), (128, 4096), (64, 2048), (64, 1024), (64, 256)]


def plain(views: list[Tensor]) -> Tensor:
    return intl_loss_func(views, beta=BETA).loss


def in_bf16(views: list[Tensor]) -> Tensor:
    return intl_loss_func(views, beta=BETA, precision="bf16").loss


def rounded(bits: int) -> Callable[[list[Tensor]], Tensor]:
    def loss(views: list[Tensor]) -> Tensor:
        with Rounded(bits):
            return plain(views)

    return loss


def whitened(views: list[Tensor]) -> Tensor:
    first, other = (iternorm(z) for z in views)
    invariance = 2 - 2 * cosine_similarity(first, other, dim=1).mean()
    return invariance + BETA * (trace_loss(first) + trace_loss(other))


def errors(draw: Draw, m: int, d: int, losses: dict[str, Callable[[list[Tensor]], Tensor]]) -> dict[str, Any]:
    """Relative errors of [loss, gradient], the largest over seeds."""
    found = {name: [0.0, 0.0] for name in losses}
    for seed in SEEDS:
        torch.manual_seed(seed)
        views = [z.float().requires_grad_() for z in draw(m, d)]
        wide = [z.detach().double().requires_grad_() for z in views]
        exact = plain(wide)
        gradient = torch.stack(torch.autograd.grad(exact, wide))
        for name, loss in losses.items():
            value = loss(views)
            off = torch.stack(torch.autograd.grad(value, views)) - gradient
            here = (abs(value.item() / exact.item() - 1), (off.norm() / gradient.norm()).item())
            found[name] = [max(pair) for pair in zip(found[name], here, strict=True)]
    return {name: [float(f"{x:.2g}") for x in both] for name, both in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    fp32 = {"Gram matrices": plain, "whitened embeddings": whitened}
    coarse = {"bf16's 7 bits": rounded(7), "TF32's 10 bits": rounded(10)}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        coarse["bf16, on this processor"] = in_bf16
    results: dict[str, Any] = {}
    for part, kinds, sizes, losses in (
        ("fp32", COLLAPSE, NARROW, fp32),
        ("precision", TRAINING, WIDE, coarse),
    ):
        for kind, draw in kinds.items():
            for m, d in sizes:
                row = results.setdefault(part, {}).setdefault(kind, {})
                row[f"{m}x{d}"] = errors(draw, m, d, losses)
                print(part, kind, f"{m}x{d}", row[f"{m}x{d}"], flush=True)
    file = Path(__file__).with_suffix(".json")
    about = {"beta": BETA, "seeds": len(SEEDS), "errors": "[loss, gradient], relative, largest over seeds"}
    write_json(file, {**about, "results": results, "environment": environment()})
    print(file)


if __name__ == "__main__":
    main()
