"""The paper's CIFAR linear protocol: a linear layer trained with Adam on features computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo_intl.errors import UserError
from solo_intl.evaluation.features import Features, check_labelled
from solo_intl.evaluation.metrics import label_ranks

_EVAL_ROWS = 8192
AUTO, BATCH = "auto", 1000
# CIFAR's 50,000 images are 50 steps an epoch, which the schedule was made for
_STEPS, _LEAST = 50, 32


@dataclass(frozen=True)
class LinearProbe:
    """A trained linear classifier: scores = x @ weight.T + bias.

    Attributes:
        weight: float32 [classes, d], on the CPU.
        bias: float32 [classes], on the CPU.
        metrics: top1, top5, train_top1 (percent), train_loss (nats), and the settings they belong to.

    Example:
        >>> LinearProbe(torch.eye(2), torch.zeros(2), {"top1": 100.0}).metrics["top1"]
        100.0
    """

    weight: Tensor
    bias: Tensor
    metrics: dict[str, Any]


def adam_probe(
    train: Features,
    test: Features,
    *,
    epochs: int = 500,
    lr: float = 1e-2,
    final_lr: float = 1e-6,
    weight_decay: float = 5e-6,
    batch_size: int | str = BATCH,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> LinearProbe:
    """Train one linear layer with bias on fixed features (paper, CIFAR-10/100 linear evaluation).

    Adam on the cross-entropy; the learning rate decays exponentially once per epoch, from `lr` in the first
    to `final_lr` in the last. Features are used as they are: no augmentation, no normalisation. fp32
    throughout. The last partial batch of an epoch is kept. Initial weights (torch's own rule for nn.Linear)
    and the order of the batches come from one generator seeded with `seed`; the global generators are not
    touched.

    Args:
        train: labelled features to train on.
        test: labelled features to report on.
        epochs: passes over `train`.
        lr, final_lr: learning rate of the first and of the last epoch.
        weight_decay: Adam's L2 term, on weight and bias.
        batch_size: rows per step; "auto": those of `probe_batch`.
        seed: of the initial weights and the shuffling.
        device: where to train.
        progress: called as progress(epochs done, epochs) after each epoch.

    Returns:
        LinearProbe. Its top1 and top5 are the test accuracies in percent AFTER the last epoch, never of the
        best epoch; top5 is None with five classes or fewer. train_top1 and train_loss are of the final layer
        as well.

    Raises:
        UserError: a setting out of range, named by its key (max_epochs, optimizer.lr, ...); images without
            labels, features that are not finite or of two widths, a loss that is not finite.

    Example:
        >>> x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
        >>> points = Features(x, y, ["a", "b"])
        >>> adam_probe(points, points, epochs=50, lr=0.1).metrics["top1"]
        100.0
    """
    _check(train, test, epochs, lr, final_lr, weight_decay, batch_size)
    batch_size = probe_batch(len(train.x)) if batch_size == AUTO else int(batch_size)
    classes = 1 + max(int(train.y.max()), int(test.y.max()))
    x, y = train.x.float().to(device), train.y.to(device)
    generator = torch.Generator().manual_seed(seed)
    weight, bias = _initial_layer(x.shape[1], classes, generator, device)
    optimizer = torch.optim.Adam([weight, bias], lr=lr, weight_decay=weight_decay)
    decay = (final_lr / lr) ** (1 / (epochs - 1)) if epochs > 1 else 1.0
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=decay)

    with torch.autocast(x.device.type, enabled=False), torch.enable_grad():
        for epoch in range(epochs):
            # drawn on the CPU whatever the device, so that every device sees the same batches
            for batch in torch.randperm(len(x), generator=generator).to(device).split(batch_size):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(F.linear(x[batch], weight, bias), y[batch]).backward()
                optimizer.step()
            scheduler.step()
            if progress is not None:
                progress(epoch + 1, epochs)

    train_top1, train_top5, train_loss = _evaluate(x, y, weight, bias)
    top1, top5, _ = _evaluate(test.x.float().to(device), test.y.to(device), weight, bias)
    metrics = {
        "top1": top1,
        "top5": top5 if classes > 5 else None,
        "train_top1": train_top1,
        "train_top5": train_top5 if classes > 5 else None,
        "train_loss": train_loss,
        "epochs": epochs,
        "lr": lr,
        "final_lr": final_lr,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "seed": seed,
        "num_classes": classes,
        "n_train": len(x),
        "n_test": len(test.x),
    }
    return LinearProbe(weight.detach().cpu(), bias.detach().cpu(), metrics)


def probe_batch(images: int) -> int:
    """Rows per step with which few images get about as many steps an epoch as CIFAR's 50,000, at least 32.

    At 1000 rows a step the layer of a small set has not converged when the schedule ends.

    Example:
        >>> probe_batch(50_000), probe_batch(10_000), probe_batch(1_437)
        (1000, 200, 32)
    """
    return min(BATCH, max(_LEAST, images // _STEPS))


def _check(
    train: Features,
    test: Features,
    epochs: int,
    lr: float,
    final_lr: float,
    weight_decay: float,
    batch_size: int | str,
) -> None:
    batch = ("optimizer.batch_size", batch_size, f", or {AUTO}")
    for key, count, other in (("max_epochs", epochs, ""), batch):
        if other and count == AUTO:
            continue
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise UserError(f"{key}: found {count!r}, accepted: an integer of at least 1{other}")
    if not _is_number(lr) or lr <= 0:
        raise UserError(f"optimizer.lr: found {lr!r}, accepted: a number above 0")
    if not _is_number(final_lr) or final_lr <= 0:
        raise UserError(
            f"optimizer.final_lr: found {final_lr!r}, accepted: a number above 0 (exponential decay never "
            "reaches 0)"
        )
    if not _is_number(weight_decay) or weight_decay < 0:
        raise UserError(f"optimizer.weight_decay: found {weight_decay!r}, accepted: a number of 0 or more")
    check_labelled(train, "train")
    check_labelled(test, "test")
    if train.x.shape[1] != test.x.shape[1]:
        raise UserError(
            f"test set: found {test.x.shape[1]} features per image; "
            f"accepted: {train.x.shape[1]} as in the train set"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _initial_layer(
    width: int, classes: int, generator: torch.Generator, device: str | torch.device
) -> tuple[nn.Parameter, nn.Parameter]:
    """nn.Linear's own initial distribution, uniform in +-1/sqrt(width), from a generator of ours."""
    bound = width**-0.5
    weight = torch.empty(classes, width).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=generator)
    return nn.Parameter(weight.to(device)), nn.Parameter(bias.to(device))


@torch.no_grad()
def _evaluate(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> tuple[float, float, float]:
    """Top-1 and top-5 in percent and mean cross-entropy, in blocks of rows."""
    first = fifth = 0
    loss = 0.0
    for rows, labels in zip(x.split(_EVAL_ROWS), y.split(_EVAL_ROWS), strict=True):
        with torch.autocast(x.device.type, enabled=False):
            scores = F.linear(rows, weight, bias)
        loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        if not math.isfinite(loss):
            raise UserError(
                "optimizer.lr: the linear layer diverged (its loss is not finite); accepted: less"
            )
        ranks = label_ranks(scores, labels)
        first += int((ranks < 1).sum())
        fifth += int((ranks < 5).sum())
    return 100.0 * first / len(x), 100.0 * fifth / len(x), loss / len(x)
