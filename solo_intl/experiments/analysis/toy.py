"""The paper's toy network (D.1): what IterNorm, power transforms and INTL do to two eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from sklearn.datasets import make_blobs
from torch import Tensor, nn
from torch.nn import functional

from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import covariance_eigenvalues
from solo_intl.experiments.analysis.toy_report import toy_claims, toy_figure, toy_rows
from solo_intl.losses import iternorm, power_function, spectral_transform, trace_loss

Transform = Callable[[Tensor], Tensor]


def transforms(settings: DictConfig) -> dict[str, tuple[Transform, float]]:
    """Name -> transform of the embedding, weight of its trace loss."""
    found: dict[str, tuple[Transform, float]] = {}
    for t in settings.iternorm:
        found[f"IterNorm T={t}"] = partial(iternorm, iterations=int(t), axis="batch"), 0.0
    for p in settings.powers:
        found[f"power p={p:g}"] = partial(spectral_transform, g=power_function(p), axis="batch"), 0.0
    intl = settings.intl
    for beta in intl.betas:
        found[f"INTL beta={beta:g}"] = (
            partial(iternorm, iterations=intl.iterations, axis="batch"),
            float(beta),
        )
    return found


def cells(settings: DictConfig) -> dict[str, Cell]:
    return {
        f"{name}, {start}, seed {seed}": partial(train, settings, transform, beta, condition, seed)
        for name, (transform, beta) in transforms(settings).items()
        for start, condition in settings.starts.items()
        for seed in settings.seeds
    } | {"data": partial(_data, settings)}


def blobs(settings: DictConfig, seed: int) -> Tensor:
    """The points of a seed, [points, 2]."""
    x, _ = make_blobs(settings.points, n_features=2, centers=settings.centers, random_state=seed)
    return torch.tensor(x, dtype=torch.float32)


def encoder(points: Tensor, condition: float, seed: int) -> nn.Sequential:
    """2-16-16-2 with BatchNorm and ReLU, always on batch statistics; its embedding of all points starts with
    a covariance of this condition number, larger eigenvalue as initialised."""
    torch.manual_seed(seed)

    def layer(width: int) -> list[nn.Module]:
        return [nn.Linear(width, 16), nn.BatchNorm1d(16, track_running_stats=False), nn.ReLU()]

    last = nn.Linear(16, 2)
    network = nn.Sequential(*layer(2), *layer(16), last)
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(torch.cov(network(points).T.double()))
        scales = torch.stack([(values[1] / condition / values[0]).sqrt(), torch.ones_like(values[1])])
        last.weight.copy_((vectors * scales) @ vectors.T @ last.weight.double())
    return network


def train(
    settings: DictConfig, transform: Transform, beta: float, condition: float, seed: int
) -> dict[str, Any]:
    """Eigenvalues [larger, smaller] of embedding and output over all points, every few steps."""
    points = blobs(settings, seed)
    network = encoder(points, condition, seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=settings.lr)
    g = torch.Generator().manual_seed(seed)
    record: dict[str, Any] = {"step": [], "embedding": [], "output": [], "broke_at": None}
    batches: list[Tensor] = []
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            with torch.no_grad():
                z = network(points)
                pair = z, transform(z)
            for key, value in zip(("embedding", "output"), pair, strict=True):
                record[key].append(covariance_eigenvalues(value).tolist())
            record["step"].append(step)
        if step == settings.steps:
            break
        batches = batches or list(torch.randperm(len(points), generator=g).split(settings.batch_size))
        x = points[batches.pop()]
        views = [transform(network(x + settings.noise * torch.randn(x.shape, generator=g))) for _ in range(2)]
        loss = functional.mse_loss(views[0], views[1])
        if beta:
            loss = loss + beta * (trace_loss(views[0], axis="batch") + trace_loss(views[1], axis="batch"))
        optimizer.zero_grad()
        loss.backward()
        if not all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None):
            record["broke_at"] = step
            break
        optimizer.step()
    return record


def _data(settings: DictConfig) -> dict[str, Any]:
    """The first seed's points and the embeddings that both starts make of them, for the scatter."""
    seed = settings.seeds[0]
    points = blobs(settings, seed)
    with torch.no_grad():
        starts = {
            name: encoder(points, condition, seed)(points).tolist()
            for name, condition in settings.starts.items()
        }
    return {"points": points.tolist(), "starts": starts}


def report(results: dict[str, Any], settings: DictConfig) -> Report:
    """What the runs say, from their last measurements."""
    runs = {
        (name, start): [results[f"{name}, {start}, seed {seed}"] for seed in settings.seeds]
        for name in transforms(settings)
        for start in settings.starts
    }
    return Report(toy_claims(runs), toy_rows(runs, settings), toy_figure(runs, results["data"]))
