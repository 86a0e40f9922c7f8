"""Modules around `functional`: settings are checked once, when the module is made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .distributed import gather_views
from .functional import INTLOutput, intl_loss_func, iternorm
from .validation import check_axis, check_beta, check_iterations, check_precision


class IterNorm(nn.Module):
    """`iternorm` as a module without parameters or state ("Modulate Your Spectrum", ICLR 2024).

    Args:
        iterations: T >= 0 steps of Newton's iteration.
        axis: "channel" (each row centred over d) or "batch" (each column centred over m).

    Shape:
        [m, d] -> [m, d], in float64 for float64 input, else float32.

    Raises:
        TypeError, ValueError: on making, for iterations or axis; on calling, as `iternorm`.

    Example:
        >>> import torch
        >>> from solo_intl.losses import IterNorm
        >>> IterNorm(iterations=4)(torch.randn(8, 32)).shape
        torch.Size([8, 32])
    """

    def __init__(self, iterations: int = 4, axis: str = "channel") -> None:
        super().__init__()
        check_axis(axis)
        self.iterations = check_iterations(iterations)
        self.axis = axis

    def forward(self, z: Tensor) -> Tensor:
        return iternorm(z, iterations=self.iterations, axis=self.axis)

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}, axis={self.axis!r}"


class INTLLoss(nn.Module):
    """`intl_loss_func` as a module without parameters or state ("Modulate Your Spectrum", ICLR 2024).

    Args:
        beta: weight of the trace loss; None is the paper's rule on the (global) whitened size.
        iterations: T >= 0 steps of IterNorm.
        axis: "channel" or "batch".
        gather_distributed: whiten the global batch of all ranks of the default process group. Every rank then
            returns the same loss, and its embeddings' gradient is W times the one-process value, as
            DistributedDataParallel's mean over ranks expects. Without a process group it changes nothing.
        check_finite: raise on NaN or infinite input, at the cost of waiting for the device.
        precision: "fp32", "bf16" or "tf32", of the products that make the Gram matrices (`intl_loss_func`).

    Shape:
        forward(views, target=None): each [m, d] -> INTLOutput of scalars.

    Raises:
        TypeError, ValueError: on making, for the settings; on calling, as `intl_loss_func`, and when ranks
            differ in shape, number of views or precision, or the input of one is wrong: ValueError on all.

    Example:
        >>> import torch
        >>> from solo_intl.losses import INTLLoss
        >>> criterion = INTLLoss(beta=0.05)
        >>> views = [torch.randn(8, 32, requires_grad=True) for _ in range(2)]
        >>> loss, invariance, trace = criterion(views)
        >>> loss.backward()
        >>> bool(torch.isclose(loss, invariance + 0.05 * trace))
        True
    """

    def __init__(
        self,
        beta: float | None = None,
        iterations: int = 4,
        axis: str = "channel",
        gather_distributed: bool = False,
        *,
        check_finite: bool = False,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        check_axis(axis)
        self.beta = check_beta(beta)
        self.iterations = check_iterations(iterations)
        self.axis = axis
        self.gather_distributed = gather_distributed
        self.check_finite = check_finite
        check_precision(precision)
        self.precision = precision

    def forward(self, views: Sequence[Tensor], target: Tensor | None = None) -> INTLOutput:
        if self.gather_distributed:
            views, target = gather_views(views, target)
        return intl_loss_func(
            views,
            target,
            beta=self.beta,
            iterations=self.iterations,
            axis=self.axis,
            check_finite=self.check_finite,
            precision=self.precision,
        )

    def extra_repr(self) -> str:
        return (
            f"beta={self.beta}, iterations={self.iterations}, axis={self.axis!r}, "
            f"gather_distributed={self.gather_distributed}"
            + (f", precision={self.precision!r}" if self.precision != "fp32" else "")
        )
