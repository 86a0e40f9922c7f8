"""solo-learn's online k-NN metric on today's torchmetrics, with cosine similarity that is one and labels that
either split may lack."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torchmetrics import Metric


def mended_knn(solo_knn: type[Metric]) -> type[Metric]:
    """A subclass of solo-learn's ``WeightedKNNClassifier`` that can be constructed and normalises."""

    class OnlineKNN(solo_knn):
        def __init__(self, k: int = 20, T: float = 0.07, distance_fx: str = "cosine") -> None:
            # solo-learn passes `compute_on_step`, which torchmetrics removed, so its __init__ is skipped
            Metric.__init__(self)
            self.k = k
            self.T = T
            self.max_distance_matrix_size = int(5e6)
            self.distance_fx = distance_fx
            self.epsilon = 1e-5
            for state in ("train_features", "train_targets", "test_features", "test_targets"):
                self.add_state(state, default=[], persistent=False)

        def update(
            self,
            train_features: torch.Tensor | None = None,
            train_targets: torch.Tensor | None = None,
            test_features: torch.Tensor | None = None,
            test_targets: torch.Tensor | None = None,
        ) -> None:
            def prepare(features: torch.Tensor | None) -> torch.Tensor | None:
                if features is None:
                    return None
                features = features.float()
                return F.normalize(features, dim=1) if self.distance_fx == "cosine" else features

            super().update(prepare(train_features), train_targets, prepare(test_features), test_targets)

        def compute(self) -> tuple[float, float]:
            """Top-1 and top-5 in percent, -1 of nothing; labels may be missing from either side."""
            if not self.train_features or not self.test_features:
                return -1.0, -1.0
            train, labels = torch.cat(self.train_features), torch.cat(self.train_targets)
            test, targets = torch.cat(self.test_features), torch.cat(self.test_targets)
            k, classes = min(self.k, len(train)), int(torch.cat([labels, targets]).max()) + 1
            hits = torch.zeros(2, device=train.device)
            for rows in torch.arange(len(test)).split(max(1, self.max_distance_matrix_size // len(train))):
                if self.distance_fx == "cosine":
                    weights, nearest = (test[rows] @ train.T).topk(k)
                    weights = (weights / self.T).exp()
                else:
                    weights, nearest = (1 / (torch.cdist(test[rows], train) + self.epsilon)).topk(k)
                votes = torch.zeros(len(rows), classes, device=train.device)
                votes.scatter_add_(1, labels[nearest], weights)
                right = votes.argsort(1, descending=True) == targets[rows, None]
                # solo-learn's top 5 is the top k below five neighbours
                hits += torch.stack([right[:, :n].any(1).sum() for n in (1, min(5, k))])
            self.reset()
            return tuple((100 * hits / len(test)).tolist())

        def forward(self, *args: Any, **kwargs: Any) -> None:
            # Metric.forward would also compute the metric of every single batch
            self.update(*args, **kwargs)

    return OnlineKNN
