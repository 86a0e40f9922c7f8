"""The fp32 island: INTL computes in fp32 (fp64 for fp64 input) whatever autocast says, gradients included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor


def compute_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """float64 if any tensor is float64, else float32 (so half precisions are computed in float32)."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def small_enough_for_float64(m: int, device: torch.device) -> bool:
    """Whether a batch of m images is small enough for fp64.

    Rounding of the Gram matrices averages out over rows; in a small batch it shows. And fp64 costs it little.
    """
    return m <= 32 and device.type != "mps"  # which has no fp64


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off for the device; devices that know no autocast (such as "meta") need nothing."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device_type=device.type, enabled=False)


@contextmanager
def gram_precision(precision: str) -> Iterator[None]:
    """Let torch take fp32 products in bf16 (CPU) or TF32 (CUDA) inside; sums stay fp32, fp64 stays fp64.

    torch knows one such setting for the whole process, so another thread's products may feel it meanwhile.
    """
    if precision == "fp32":
        yield
        return
    setting: Any = torch.backends.cuda.matmul
    if precision == "bf16":
        setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    setting.fp32_precision = precision
    try:
        yield
    finally:
        setting.fp32_precision = before


class _MatMul(torch.autograd.Function):
    """a @ b whose gradient ignores autocast too.

    Autocast acts on whatever runs while it is on, so a `backward()` called inside the context would compute
    these gradients in bf16 even though the forward was protected.
    """

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        with without_autocast(grad.device):
            grad_a = matmul(grad, b.mT) if ctx.needs_input_grad[0] else None
            grad_b = matmul(a.mT, grad) if ctx.needs_input_grad[1] else None
        return grad_a, grad_b


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a [n, k] @ b [k, p] -> [n, p], differentiable any number of times. Call it under `without_autocast`."""
    return _MatMul.apply(a, b)
