"""The losses that benchmarks/loss.py times, each of two views [m, d], written as its equations stand.

Differentiated by autograd all but `ours`. The other methods' losses are at their papers' own coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize, relu

from solo_intl.losses import default_beta, intl_loss_func

Loss = Callable[[Tensor, Tensor], Tensor]
STEPS = 4


def ours(a: Tensor, b: Tensor, *, precision: str = "fp32", steps: int = STEPS) -> Tensor:
    return intl_loss_func([a, b], beta=default_beta(len(a)), iterations=steps, precision=precision).loss


def published(a: Tensor, b: Tensor, *, full_covariance: bool = False, steps: int = STEPS) -> Tensor:
    """INTL; full_covariance makes all of Sigmahat, of which only the diagonal is wanted."""
    (m, d), whitened, trace_loss = a.shape, [], a.new_zeros(())
    for z in (a, b):
        zc = z - z.mean(1, keepdim=True)
        sigma = zc @ zc.T / (d - 1)
        trace = sigma.trace()
        sigma_n, p = sigma / trace, torch.eye(m)
        for _ in range(steps):
            p = (3 * p - p @ p @ p @ sigma_n) / 2
        z_hat = p @ zc / trace.sqrt()
        diagonal = (z_hat @ z_hat.T).diagonal() if full_covariance else z_hat.square().sum(1)
        trace_loss = trace_loss + (1 - diagonal / (d - 1)).square().sum()
        whitened.append(z_hat)
    return 2 - 2 * cosine_similarity(*whitened, dim=1).mean() + default_beta(m) * trace_loss


def barlow(a: Tensor, b: Tensor) -> Tensor:
    """Barlow Twins: the d x d cross-correlation over the batch."""
    a, b = ((z - z.mean(0)) / z.std(0) for z in (a, b))
    correlation = a.T @ b / len(a)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + 5e-3 * off


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """VICReg: two d x d covariances over the batch."""
    loss = 25 * mse_loss(a, b)
    for z in (a, b):
        zc = z - z.mean(0)
        covariance = zc.T @ zc / (len(z) - 1)
        variance = covariance.diagonal()
        loss = loss + 12.5 * relu(1 - (variance + 1e-4).sqrt()).mean()
        loss = loss + (covariance.square().sum() - variance.square().sum()) / z.shape[1]
    return loss


def simclr(a: Tensor, b: Tensor) -> Tensor:
    """SimCLR: similarities of all 2m images."""
    z, m = normalize(torch.cat((a, b))), len(a)
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    return cross_entropy(logits, torch.arange(2 * m).roll(m))


def cholesky(a: Tensor, b: Tensor) -> Tensor:
    """W-MSE: hard whitening over the batch, of up to 128 channels at a time so that Sigma has full rank."""
    m, whitened = len(a), []
    width = min(128, m // 2)
    for z in (a, b):
        zc = (z - z.mean(0)).view(m, -1, width).transpose(0, 1)
        factor = torch.linalg.cholesky(zc.mT @ zc / (m - 1))
        found = torch.linalg.solve_triangular(factor, zc.mT, upper=False)
        whitened.append(found.flatten(0, 1).T)
    return 2 - 2 * cosine_similarity(*whitened, dim=1).mean()


INTL: dict[str, Loss] = {
    "published": published,
    "published, full covariance": partial(published, full_covariance=True),
    "fp32": ours,
    "bf16": partial(ours, precision="bf16"),
}
OTHERS: dict[str, Loss] = {
    "Barlow Twins": barlow,
    "VICReg": vicreg,
    "SimCLR": simclr,
    "W-MSE, Cholesky": cholesky,
}
