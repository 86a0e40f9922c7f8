"""The paper's projector."""

from __future__ import annotations

from torch import nn


def projector(features_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """Three linear layers; BatchNorm and ReLU after the two hidden ones, which have no bias.

    Args:
        features_dim: width of the backbone's output.
        hidden_dim: width of both hidden layers.
        output_dim: width d of the embedding.

    Example:
        >>> import torch
        >>> projector(512, 2048, 128)(torch.randn(4, 512)).shape
        torch.Size([4, 128])
    """
    return nn.Sequential(
        nn.Linear(features_dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, output_dim),
    )
