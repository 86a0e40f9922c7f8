"""The rank of the true label with one stated rule for ties, shared by the k-NN and the linear probe."""

from __future__ import annotations

import torch
from torch import Tensor


def label_ranks(scores: Tensor, y: Tensor) -> Tensor:
    """Position of each true label when its row is sorted from the highest score down (0 = first).

    Equal scores are ordered by label, smallest first, so the answer never depends on a sorting routine.

    Args:
        scores: [n, classes], higher is better.
        y: int64 [n], labels in [0, classes).

    Returns:
        int64 [n].

    Raises:
        ValueError: shapes that don't fit, labels out of range, or NaN scores (a NaN would rank first).

    Example:
        >>> label_ranks(torch.tensor([[0.1, 0.7, 0.2], [1.0, 1.0, 0.0]]), torch.tensor([2, 1])).tolist()
        [1, 1]
    """
    if scores.ndim != 2 or y.shape != scores.shape[:1]:
        raise ValueError(
            f"expected scores [n, classes] and y [n], got {list(scores.shape)} and {list(y.shape)}"
        )
    if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < scores.shape[1]:
        raise ValueError(f"labels {int(y.min())}..{int(y.max())} don't fit {scores.shape[1]} classes")
    if bool(scores.isnan().any()):
        raise ValueError("scores contain NaN")
    own = scores.gather(1, y[:, None])
    columns = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores > own) | ((scores == own) & (columns < y[:, None]))
    return ahead.sum(dim=1)
