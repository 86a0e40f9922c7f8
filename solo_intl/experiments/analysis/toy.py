"""The paper's toy network (D.1): what IterNorm, power transforms and INTL do to two eigenvalues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from sklearn.datasets import make_blobs
from torch import Tensor, nn

from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import covariance_eigenvalues
from solo_intl.experiments.analysis.stacked import (
    forward,
    stack_parameters,
    stacked_iternorm,
    stacked_power,
    stacked_trace_loss,
)
from solo_intl.experiments.analysis.toy_report import toy_claims, toy_figure, toy_rows

Transform = Callable[[Tensor], Tensor]  # of [..., m, 2]


def transforms(settings: DictConfig) -> dict[str, tuple[Transform, float]]:
    """Name -> transform of the embedding, weight of its trace loss."""
    found: dict[str, tuple[Transform, float]] = {}
    for t in settings.iternorm:
        found[f"IterNorm T={t}"] = partial(stacked_iternorm, iterations=int(t)), 0.0
    for p in settings.powers:
        found[f"power p={p:g}"] = partial(stacked_power, p=float(p)), 0.0
    intl = settings.intl
    for beta in intl.betas:
        found[f"INTL beta={beta:g}"] = partial(stacked_iternorm, iterations=int(intl.iterations)), float(beta)
    return found


def cells(settings: DictConfig) -> dict[str, Cell]:
    """A cell a transform, of all starts and seeds at once; and the data of the scatter."""
    return {
        name: partial(train, settings, transform, beta)
        for name, (transform, beta) in transforms(settings).items()
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


def train(settings: DictConfig, transform: Transform, beta: float) -> dict[str, Any]:
    """Start -> a run a seed: eigenvalues [larger, smaller] of embedding and output over all points, every few
    steps, in float64. Both starts of a seed see the same points in the same batches with the same noise.

    A run breaks when its gradient, or its output where it is measured, is not finite; its weights then stay,
    and nothing more is recorded.
    """
    seeds, starts = list(settings.seeds), dict(settings.starts)
    data = [blobs(settings, seed) for seed in seeds]
    parameters = stack_parameters(
        [
            encoder(points, condition, seed)
            for condition in starts.values()
            for points, seed in zip(data, seeds, strict=True)
        ]
    )
    points = torch.stack(data * len(starts)).double()
    draws = [_draw(x, settings, seed) for x, seed in zip(data, seeds, strict=True)]
    runs: list[dict[str, Any]] = [
        {"step": [], "embedding": [], "output": [], "broke_at": None} for _ in range(len(points))
    ]
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            with torch.no_grad():
                z = forward(parameters, points)
                _measure(runs, step, {"embedding": z, "output": transform(z)})
        if step == settings.steps:
            break
        x = torch.stack([next(draw) for draw in draws], 1).double()  # [view, seed, m, 2]
        views = transform(forward(parameters, x.repeat(1, len(starts), 1, 1)))
        losses = (views[0] - views[1]).square().mean((-2, -1)) + beta * stacked_trace_loss(views).sum(0)
        gradients = torch.autograd.grad(losses.sum(), parameters)
        finite = torch.stack([g.flatten(1).isfinite().all(1) for g in gradients]).all(0)
        for run, sound in zip(runs, finite.tolist(), strict=True):
            if not sound and run["broke_at"] is None:
                run["broke_at"] = step
        going = torch.tensor([run["broke_at"] is None for run in runs])
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p -= settings.lr * g.where(going.view(-1, *[1] * (g.ndim - 1)), 0)
    n = len(seeds)
    return {start: runs[i * n : (i + 1) * n] for i, start in enumerate(starts)}


def _draw(points: Tensor, settings: DictConfig, seed: int) -> Iterator[Tensor]:
    """Two views [2, m, 2] of one shuffled batch after another."""
    g = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(points), generator=g).split(settings.batch_size):
            x = points[rows]
            yield x + settings.noise * torch.randn(2, *x.shape, generator=g)


def _measure(runs: list[dict[str, Any]], step: int, values: dict[str, Tensor]) -> None:
    sound = torch.stack([value.flatten(1).isfinite().all(1) for value in values.values()]).all(0)
    spectra = {  # zeros for what has none: a decomposition that fails would end every run
        which: covariance_eigenvalues(value.where(sound[:, None, None], 0)).tolist()
        for which, value in values.items()
    }
    for i, run in enumerate(runs):
        if run["broke_at"] is None and not sound[i]:
            run["broke_at"] = step
        if run["broke_at"] is None:
            run["step"].append(step)
            for which, spectrum in spectra.items():
                run[which].append(spectrum[i])


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
    runs = {(name, start): results[name][start] for name in transforms(settings) for start in settings.starts}
    return Report(toy_claims(runs), toy_rows(runs, settings), toy_figure(runs, results["data"]))
