"""Many small runs at once: network, whitenings and trace loss with a leading dimension of runs.

A toy run's operations take less time than it takes to start them, so all runs of a transform are one. Nothing
passes from one run to another, so each is what it would be alone; tests compare with the package's functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Parameters = list[Tensor]  # of the layers in order, each [runs, ...]


def stack_parameters(networks: Sequence[nn.Module]) -> Parameters:
    """The parameters of equal networks as leaves in float64, [runs, ...] each."""
    rows = zip(*(network.parameters() for network in networks), strict=True)
    return [torch.stack(list(row)).detach().double().requires_grad_() for row in rows]


def forward(parameters: Parameters, x: Tensor, eps: float = 1e-5) -> Tensor:
    """Linear, then BatchNorm on the batch's statistics, ReLU and linear as often as there are parameters.

    Args:
        parameters: of `stack_parameters`: weight and bias of each layer, linear and BatchNorm in turn.
        x: [..., runs, m, width].
        eps: BatchNorm's.
    """
    x = x @ parameters[0].mT + parameters[1][:, None]
    for i in range(2, len(parameters), 4):
        scale, shift, weight, bias = parameters[i : i + 4]
        x = x - x.mean(-2, keepdim=True)
        x = x / (x.square().mean(-2, keepdim=True) + eps).sqrt()
        x = functional.relu(x * scale[:, None] + shift[:, None]) @ weight.mT + bias[:, None]
    return x


def stacked_iternorm(z: Tensor, iterations: int) -> Tensor:
    """`solo_intl.losses.iternorm` along axis "batch" of each [m, d] of z [..., m, d]; float64 only.

    Straight from the definition, which in float64 is as good up to T = 9 and condition 1e12.
    """
    zc = z - z.mean(-2, keepdim=True)
    sigma = zc.mT @ zc / (z.shape[-2] - 1)
    trace = sigma.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    sigma, p = sigma / trace, torch.eye(z.shape[-1], dtype=z.dtype).expand_as(sigma)
    for _ in range(iterations):
        p = 1.5 * p - 0.5 * p @ p @ p @ sigma
    return zc @ p / trace.sqrt()


def stacked_power(z: Tensor, p: float) -> Tensor:
    """`spectral_transform` with `power_function(p)` along axis "batch" of each [m, d] of z [..., m, d]."""
    zc = z - z.mean(-2, keepdim=True)
    eigenvalues, vectors = torch.linalg.eigh(zc.mT @ zc / (z.shape[-2] - 1))
    return zc @ (vectors * eigenvalues.pow(-p)[..., None, :]) @ vectors.mT


def stacked_trace_loss(z_hat: Tensor) -> Tensor:
    """`solo_intl.losses.trace_loss` along axis "batch" of each [m, d] of z_hat [..., m, d]: [...]."""
    return (1 - z_hat.square().sum(-2) / (z_hat.shape[-2] - 1)).square().sum(-1)
