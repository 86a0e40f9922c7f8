"""Claim: Barlow Twins on 2 gloo processes has the loss of the mean correlation over both, and after
DistributedDataParallel's mean its parameter gradients, as one process computes them (1e-10, float64).
solo-learn's own gradients are half of that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from solo_intl import host

WORKER = Path(__file__).with_name("barlow_worker.py")
WORLD = 2


def expected_loss(projector: nn.Module, features: list[list[Tensor]]) -> Tensor:
    """Barlow Twins' loss of the correlation, averaged over processes that each normalise their own batch."""
    correlations = []
    for views in features:
        z1, z2 = (projector(view) for view in views)
        z1, z2 = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (z1, z2))
        correlations.append(z1.T @ z2 / len(z1))
    difference = (torch.stack(correlations).mean(0) - torch.eye(16)).square()
    on_diagonal = difference.diagonal().sum()
    return 0.1 * (on_diagonal + 0.0051 * (difference.sum() - on_diagonal))


def test_gradients_of_two_processes_are_those_of_the_joined_correlation(make_cfg: Callable, tmp_path: Path):
    torch.manual_seed(0)
    kwargs = {"proj_hidden_dim": 32, "proj_output_dim": 16, "lamb": 0.0051, "scale_loss": 0.1}
    cfg = make_cfg(method="barlow_twins", method_kwargs=kwargs, data__num_classes=10)
    projector = nn.Sequential(
        *(nn.Linear(512, 32), nn.BatchNorm1d(32), nn.ReLU()),
        *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16)),
    ).double()
    features = [[torch.randn(12, 512, dtype=torch.float64) for _ in range(2)] for _ in range(WORLD)]
    file = tmp_path / "case"
    torch.save(
        {"cfg": OmegaConf.to_container(cfg), "projector": projector.state_dict(), "features": features}, file
    )
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(WORLD), str(file)],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        for rank in range(WORLD)
    ]
    assert [process.wait(timeout=180) for process in started] == [0, 0]
    loss = expected_loss(projector, features)
    loss.backward()
    for rank in range(WORLD):
        found = torch.load(f"{file}.{rank}", weights_only=True)
        torch.testing.assert_close(found["loss"], loss.detach(), rtol=1e-10, atol=0)
        for gradient, parameter in zip(found["gradients"], projector.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-12)


def test_one_process_is_untouched(make_cfg: Callable):
    from solo_intl.config import pretrain_settings

    kwargs = {"proj_hidden_dim": 32, "proj_output_dim": 16}
    cfg = make_cfg(method="barlow_twins", method_kwargs=kwargs, data__num_classes=10)
    model = host.METHODS["barlow_twins"](pretrain_settings(cfg))
    features = torch.randn(8, 512, requires_grad=True)
    gradients = [
        torch.autograd.grad(project(features).square().sum(), features)[0]
        for project in (model.projector, lambda x: nn.Sequential.forward(model.projector, x))
    ]
    assert torch.equal(*gradients)
