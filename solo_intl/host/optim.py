"""Optimizers and schedules for every method on either generation.

solo-learn 1.0.2 steps its schedule by the epoch, knows no decay exclusion outside LARS, and its LARS is
plain SGD; HEAD pickles a ``functools.partial`` into the checkpoints of methods with a fixed-rate group.
One implementation here serves both.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.optim import Lars
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from solo_intl.errors import UserError, not_accepted

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "lars": Lars,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
SCHEDULERS = ("warmup_cosine", "step", "none")
STEP_DECAY = 0.1
Group = dict[str, Any]


@dataclass
class OptimSettings:
    """HEAD's ``optimizer`` and ``scheduler`` keys, learning rates already scaled by the global batch."""

    name: str
    lr: float
    weight_decay: float
    kwargs: dict[str, Any] = field(default_factory=dict)
    exclude_bias_n_norm_wd: bool = False
    scheduler: str = "warmup_cosine"
    interval: str = "step"
    min_lr: float = 0.0
    warmup_start_lr: float = 0.0
    warmup_epochs: float = 10
    lr_decay_steps: list[int] | None = None


def split_decay(groups: Iterable[Group]) -> list[Group]:
    """Give one-dimensional parameters (biases, normalisation) groups of their own without weight decay."""
    result = []
    for group in groups:
        params = list(group["params"])
        for suffix, kept, extra in (
            ("", [p for p in params if p.ndim > 1], {}),
            ("_no_decay", [p for p in params if p.ndim <= 1], {"weight_decay": 0.0}),
        ):
            if kept:
                name = {"name": group["name"] + suffix} if "name" in group else {}
                result.append({**group, **extra, **name, "params": kept})
    return result


def _lars(groups: list[Group], settings: OptimSettings) -> Optimizer:
    kwargs = dict(settings.kwargs)
    exclude = kwargs.pop("exclude_bias_n_norm", False)
    renamed = {"eta": "trust_coeff", "clip_lr": "trust_clip"}
    kwargs = {renamed.get(key, key): value for key, value in kwargs.items()}
    if exclude:
        # no weight decay and no adaptation: timm's LARS leaves a group alone when both are off
        groups = [
            {**group, "always_adapt": not group.get("name", "").endswith("_no_decay")}
            for group in split_decay(
                [{"name": f"parameters{i}", **group} for i, group in enumerate(groups)]  # some have none
            )
        ]
    else:
        kwargs["always_adapt"] = True
    return Lars(groups, lr=settings.lr, weight_decay=settings.weight_decay, **kwargs)


def make_optimizer(groups: Iterable[Group], settings: OptimSettings) -> Optimizer:
    """The optimizer over solo-learn's parameter groups (dicts with ``params`` and optional ``lr`` ...).

    Raises:
        UserError: unknown optimizer name or keyword.
    """
    if settings.name not in OPTIMIZERS:
        raise not_accepted("optimizer.name", settings.name, OPTIMIZERS)
    groups = [{**group, "params": list(group["params"])} for group in groups]
    if settings.exclude_bias_n_norm_wd:
        groups = split_decay(groups)
    try:
        if settings.name == "lars":
            return _lars(groups, settings)
        return OPTIMIZERS[settings.name](
            groups, lr=settings.lr, weight_decay=settings.weight_decay, **settings.kwargs
        )
    except TypeError as error:
        raise UserError(f"optimizer.kwargs: found {settings.kwargs}; {settings.name} says: {error}") from None


def warmup_cosine(
    total: float, warmup: float, base: float, start: float, end: float
) -> Callable[[int], float]:
    """Multiplier of ``base`` at step t: linear from ``start`` over ``warmup`` steps, then cosine to ``end``.

    Example:
        >>> rate = warmup_cosine(total=12, warmup=2, base=0.5, start=0.0, end=0.0005)
        >>> [round(0.5 * rate(t), 4) for t in (0, 1, 2, 7, 12)]
        [0.0, 0.25, 0.5, 0.2502, 0.0005]
    """

    def multiplier(step: int) -> float:
        if base == 0:
            return 0.0
        if step < warmup:
            return (start + (base - start) * step / warmup) / base
        progress = min(1.0, (step - warmup) / max(total - warmup, 1e-12))
        return (end + (base - end) * (1 + math.cos(math.pi * progress)) / 2) / base

    return multiplier


def make_schedule(
    optimizer: Optimizer, settings: OptimSettings, total_steps: int, epochs: int
) -> dict[str, Any] | None:
    """Lightning's schedule entry, or None for a constant rate.

    Args:
        optimizer: its groups' rates are the peaks; a group with ``static_lr`` keeps its rate.
        settings: which schedule.
        total_steps: optimizer steps of the whole training.
        epochs: epochs of the whole training.

    Raises:
        UserError: unknown schedule, interval, or missing ``scheduler.lr_decay_steps``.
    """
    if settings.scheduler == "none":
        return None
    if settings.scheduler not in SCHEDULERS:
        raise not_accepted("scheduler.name", settings.scheduler, SCHEDULERS)
    if settings.scheduler == "step":
        if not settings.lr_decay_steps:
            raise UserError("scheduler.lr_decay_steps: found none, accepted: a list of epochs, e.g. [60, 80]")
        decays = sorted(settings.lr_decay_steps)
        rates = [lambda epoch: STEP_DECAY ** bisect_right(decays, epoch)] * len(optimizer.param_groups)
        return _lambda_schedule(optimizer, rates, "epoch")
    if settings.interval not in ("step", "epoch"):
        raise not_accepted("scheduler.interval", settings.interval, ("step", "epoch"))
    total = total_steps if settings.interval == "step" else epochs
    warmup = settings.warmup_epochs * total / epochs

    rates = [
        warmup_cosine(total, warmup, group["lr"], settings.warmup_start_lr, settings.min_lr)
        for group in optimizer.param_groups
    ]
    return _lambda_schedule(optimizer, rates, settings.interval)


def _lambda_schedule(
    optimizer: Optimizer, rates: list[Callable[[int], float]], interval: str
) -> dict[str, Any]:
    """Closed forms, so that a resumed run continues exactly; ``static_lr`` groups keep their rate."""
    kept = [
        (lambda step: 1.0) if group.get("static_lr") else rate
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
    ]
    return {"scheduler": LambdaLR(optimizer, kept), "interval": interval, "frequency": 1}
