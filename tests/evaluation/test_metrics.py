"""Claims: the rank of a label agrees with scikit-learn's top-k accuracy, orders ties by label, refuses what
it can't score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from solo_intl.evaluation.metrics import label_ranks


def test_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 12, generator=generator)
    y = torch.randint(0, 12, (200,), generator=generator)
    ranks = label_ranks(scores, y)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(y.numpy(), scores.numpy(), k=k, labels=np.arange(12))
        assert (ranks < k).double().mean().item() == pytest.approx(expected)


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
    ],
)
def test_refuses(scores: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_ranks(scores, y)
