"""Claims: top-k accuracy agrees with scikit-learn's, orders ties by label, refuses what it can't score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from solo_intl.evaluation.metrics import label_ranks, topk_accuracy


def test_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 12, generator=generator)
    y = torch.randint(0, 12, (200,), generator=generator)
    ours = topk_accuracy(scores, y, ks=(1, 3, 5))
    for k, percent in ours.items():
        expected = 100 * top_k_accuracy_score(y.numpy(), scores.numpy(), k=k, labels=np.arange(12))
        assert percent == pytest.approx(expected)


def test_ties_go_to_the_smallest_label() -> None:
    scores = torch.zeros(3, 3)
    assert label_ranks(scores, torch.tensor([0, 1, 2])).tolist() == [0, 1, 2]
    assert scores.argmax(dim=1).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("scores", "y", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0]), "expected scores"),
        (torch.zeros(1, 3), torch.tensor([3]), "don't fit 3 classes"),
        (torch.zeros(1, 3), torch.tensor([-1]), "don't fit 3 classes"),
        (torch.full((1, 3), float("nan")), torch.tensor([0]), "NaN"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "no rows"),
    ],
)
def test_refuses(scores: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topk_accuracy(scores, y)
