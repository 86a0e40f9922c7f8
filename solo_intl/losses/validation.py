"""Argument checks: each error says which argument, what was found and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

AXES = ("channel", "batch")
PRECISIONS = {"fp32": None, "bf16": "cpu", "tf32": "cuda"}  # and the device that knows it


def check_axis(axis: Any) -> None:
    """Accept "channel" or "batch"; anything else is a ValueError."""
    if axis not in AXES:
        raise ValueError(f"axis must be one of {', '.join(map(repr, AXES))}; found {axis!r}")


def check_precision(precision: Any, device: torch.device | None = None) -> None:
    """Accept "fp32"; "bf16" on CPUs and "tf32" on CUDA devices, from the torch (2.9) that can set them."""
    if precision not in list(PRECISIONS):
        raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; found {precision!r}")
    if device is None or precision == "fp32":
        return
    if device.type != PRECISIONS[precision]:
        raise ValueError(
            f"precision {precision!r} needs {PRECISIONS[precision]} tensors; found them on {device.type}"
        )
    if not hasattr(torch.backends.mkldnn, "matmul"):
        raise ValueError(f"precision {precision!r} needs torch 2.9 or later; found {torch.__version__}")


def check_count(value: Any, name: str, *, minimum: int) -> int:
    """Accept an integer (not a bool) of at least `minimum`: TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int >= {minimum}; found {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be an int >= {minimum}; found {value}")
    return int(value)


def check_iterations(iterations: Any) -> int:
    """Accept T, the number of IterNorm steps: an int >= 0."""
    return check_count(iterations, "iterations", minimum=0)


def check_beta(beta: Any) -> float | None:
    """Accept None (the paper's rule) or any finite number."""
    if beta is None:
        return None
    if isinstance(beta, bool) or not isinstance(beta, Real):
        raise TypeError(f"beta must be None or a finite float; found {beta!r} of type {type(beta).__name__}")
    if not math.isfinite(beta):
        raise ValueError(f"beta must be None or a finite float; found {beta}")
    return float(beta)


def check_embeddings(z: Any, name: str, *, smallest: int = 2) -> None:
    """Accept a floating tensor [m, d] with m and d >= `smallest`."""
    if not isinstance(z, Tensor):
        raise TypeError(f"{name} must be a floating-point tensor [m, d]; found {type(z).__name__}")
    if not z.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor [m, d]; found dtype {z.dtype}")
    if z.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions [m, d]; found shape {tuple(z.shape)}")
    if min(z.shape) < smallest:
        raise ValueError(
            f"{name} must have m >= {smallest} and d >= {smallest}; found shape {tuple(z.shape)}"
        )


def check_views(views: Any, target: Any, *, smallest: int = 2) -> None:
    """Accept a sequence of equal-shaped views: two or more, or one or more with a target of that shape."""
    if not isinstance(views, Sequence) or isinstance(views, str):
        raise TypeError(f"views must be a list or tuple of tensors [m, d]; found {type(views).__name__}")
    fewest = 2 if target is None else 1
    if len(views) < fewest:
        having = "without a target" if target is None else "with a target"
        raise ValueError(f"views must hold at least {fewest} tensor(s) {having}; found {len(views)}")
    for name, z in named(views, target):
        check_embeddings(z, name, smallest=smallest)
        for what, found, first in (
            ("shape", tuple(z.shape), tuple(views[0].shape)),
            ("device", z.device, views[0].device),
        ):
            if found != first:
                raise ValueError(f"{name} must have view 0's {what} {first}; found {found}")


def check_finite_values(tensors: Sequence[tuple[str, Tensor]]) -> None:
    """ValueError naming every tensor that holds non-finite values, and how many. Waits for the device."""
    counts = [(name, int((~torch.isfinite(z)).sum()), z.numel()) for name, z in tensors]
    bad = [f"{name} has {count} non-finite values of {total}" for name, count, total in counts if count]
    if bad:
        raise ValueError("; ".join(bad))


def named(views: Sequence[Tensor], target: Tensor | None) -> list[tuple[str, Tensor]]:
    """The tensors with the names that errors give them."""
    pairs = [(f"view {i}", z) for i, z in enumerate(views)]
    return pairs if target is None else [*pairs, ("target", target)]
