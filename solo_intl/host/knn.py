"""solo-learn's online k-NN metric on today's torchmetrics, with cosine similarity that is one."""

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

        def forward(self, *args: Any, **kwargs: Any) -> None:
            # Metric.forward would also compute the metric of every single batch
            self.update(*args, **kwargs)

    return OnlineKNN
