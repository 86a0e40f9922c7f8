"""Does hard whitening break where INTL does not (D.3)? A small encoder, trained with each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import pil_to_tensor

from solo_intl.data import open_split
from solo_intl.errors import UserError
from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.instability_report import (
    instability_claims,
    instability_figure,
    instability_rows,
)
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import covariance_eigenvalues
from solo_intl.losses import intl_loss_func, power_function, spectral_transform

HARD, CHOLESKY = "eigendecomposition", "Cholesky"
TINY = 1e-30  # stands for an eigenvalue that is exactly zero


def cholesky_whitening(z: Tensor) -> Tensor:
    """Hard whitening of [m, d] by Sigma = L L^T: Zc L^-T, whose covariance is the identity.

    Raises:
        torch.linalg.LinAlgError: the covariance is not positive definite.
    """
    zc = z - z.mean(0)
    factor = torch.linalg.cholesky(zc.mT @ zc / (len(z) - 1))
    return torch.linalg.solve_triangular(factor, zc.mT, upper=False).mT


def _cosine_loss(whiten: Callable[[Tensor], Tensor], views: list[Tensor]) -> Tensor:
    """norm_mse of hard-whitened views."""
    return 2 - 2 * functional.cosine_similarity(whiten(views[0]), whiten(views[1])).mean()


METHODS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    HARD: partial(_cosine_loss, partial(spectral_transform, g=power_function(0.5), axis="batch")),
    CHOLESKY: partial(_cosine_loss, cholesky_whitening),
    "INTL, batch": lambda views: intl_loss_func(views, axis="batch").loss,
    "INTL, channel": lambda views: intl_loss_func(views, axis="channel").loss,
}


def steps_of(settings: DictConfig, method: str, d: int) -> int:
    """How long a run is: longer at m = 2 d by eigendecomposition."""
    if d > settings.batch_size:
        return int(settings.steps_above)
    return int(settings.longer if method == HARD and 2 * d == settings.batch_size else settings.steps)


def cells(settings: DictConfig) -> dict[str, Cell]:
    """A cell a method, size and seed.

    Raises:
        UserError: a size at which INTL's rule for beta gives nothing.
    """
    for key, least in (("dims", min(settings.dims)), ("batch_size", settings.batch_size)):
        if least <= 8:
            raise UserError(f"{key}: found {least}, accepted: more than 8, where INTL's rule for beta holds")
    return {
        f"{method}, d={d}, seed {seed}": partial(train, settings, method, d, seed)
        for method in METHODS
        for d in settings.dims
        for seed in settings.seeds
    }


@cache
def load_images(dataset: str, max_images: int, shrink: int) -> Tensor:
    """Training images as grey values in [0, 1], [n, 1, height, width], each pixel the mean of shrink^2."""
    data = open_split({"dataset": dataset, "max_images": max_images}, "train", pil_to_tensor)
    images = torch.stack([data[i][0][:1] for i in range(len(data))])
    return functional.avg_pool2d(images.float() / 255, shrink)


def draw_view(images: Tensor, g: torch.Generator) -> Tensor:
    """A random crop of 70 to 100 % of the side, mirrored or not, brighter or darker, with noise of 0.1."""
    m = len(images)
    scale = 0.7 + 0.3 * torch.rand(m, generator=g)
    affine = torch.zeros(m, 2, 3)
    affine[:, 0, 0] = scale * (2 * torch.randint(2, (m,), generator=g) - 1)
    affine[:, 1, 1] = scale
    affine[:, :, 2] = (1 - scale)[:, None] * (2 * torch.rand(m, 2, generator=g) - 1)
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    brightness = 0.6 + 0.8 * torch.rand(m, 1, 1, 1, generator=g)
    crops = functional.grid_sample(images, grid, align_corners=False)
    return brightness * crops + 0.1 * torch.randn(crops.shape, generator=g)


def encoder(pixels: int, hidden: int, d: int, seed: int) -> nn.Sequential:
    """pixels - 128 - min(hidden, 2 d) - d; where hidden >= m it never bounds the embedding's rank."""
    torch.manual_seed(seed)
    hidden = min(hidden, 2 * d)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in ((pixels, 128), (128, hidden)):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, d))


def train(settings: DictConfig, method: str, d: int, seed: int) -> dict[str, Any]:
    """log10 of lambda_min / lambda_max over steps, and the step at which the run broke and why, if it did.

    A run breaks when the decomposition fails or when loss or gradient is not finite. Eigenvalues are those of
    the embedding's d x d covariance, in float64, of the batch that the step trains on; for d > m, where they
    cost more than the step, those of the first and the last step alone.
    """
    images = load_images(settings.dataset, settings.max_images, settings.shrink)
    network = encoder(images[0].numel(), int(settings.hidden), d, seed)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    steps = steps_of(settings, method, d)
    every = steps if d > settings.batch_size else settings.every
    g = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []
    record: dict[str, Any] = {"step": [], "log10_inverse_condition": [], "broke_at": None, "why": None}

    def measure(step: int, z: Tensor) -> None:
        if bool(torch.isfinite(z).all()):
            values = covariance_eigenvalues(z).abs()
            record["step"].append(step)
            record["log10_inverse_condition"].append(
                (values.min() / values.max()).clamp(min=TINY).log10().item()
            )

    for step in range(steps):
        order = order or [
            part
            for part in torch.randperm(len(images), generator=g).split(settings.batch_size)
            if len(part) == settings.batch_size
        ]
        batch = images[order.pop()]
        views = [network(draw_view(batch, g)) for _ in range(2)]
        measured = step % every == 0 or step == steps - 1
        if measured:
            measure(step, views[0])
        optimizer.zero_grad()
        why = _backward(METHODS[method], views, network)
        if why:
            if not measured:
                measure(step, views[0])
            return {**record, "broke_at": step, "why": why}
        optimizer.step()
    return record


def _backward(
    loss_of: Callable[[list[Tensor]], Tensor], views: list[Tensor], network: nn.Module
) -> str | None:
    """Gradients of one step; or what went wrong."""
    try:
        loss = loss_of(views)
        if not torch.isfinite(loss):
            return "loss not finite"
        loss.backward()
    except torch.linalg.LinAlgError as error:
        return f"decomposition failed: {str(error).partition('(')[0].strip()}"
    finite = all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)
    return None if finite else "gradient not finite"


def report(results: dict[str, Any], settings: DictConfig) -> Report:
    """Where the runs broke."""
    runs = {
        (method, int(d)): [results[f"{method}, d={d}, seed {seed}"] for seed in settings.seeds]
        for method in METHODS
        for d in settings.dims
    }
    figure = instability_figure(runs, settings)
    return Report(instability_claims(runs, settings), instability_rows(runs, settings), figure)
