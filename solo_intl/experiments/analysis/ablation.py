"""T and beta of INTL beside IterNorm alone and plain MSE (D.2): spectra and accuracies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from solo_intl import host
from solo_intl.config.compose import config_folder
from solo_intl.data import normalization, open_split
from solo_intl.data.batched import BatchedViews, MemoryImages
from solo_intl.engine.precision import cpu_computes_bf16, uses_gpu
from solo_intl.errors import UserError
from solo_intl.experiments.analysis.ablation_report import (
    INTL,
    ITERNORM,
    PLAIN,
    ablation_claims,
    ablation_figure,
    ablation_rows,
)
from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.run import Cell
from solo_intl.experiments.analysis.spectra import covariance_eigenvalues
from solo_intl.experiments.cell import judge_network, read_config
from solo_intl.losses import intl_loss_func, iternorm

Loss = Callable[[list[Tensor]], Tensor]


def variants(settings: DictConfig) -> dict[str, tuple[Loss, int]]:
    """Name -> loss of two views, T (0 without whitening).

    Raises:
        UserError: as many T as beta are needed.
    """
    if len(settings.iterations) != len(settings.betas):
        found_betas = f"betas: found {len(settings.betas)}"
        raise UserError(f"{found_betas}, accepted: one for each of the {len(settings.iterations)} iterations")
    found: dict[str, tuple[Loss, int]] = {}
    for t, beta in zip(settings.iterations, settings.betas, strict=True):
        found[f"{INTL} T={t}, beta={beta:g}"] = partial(_intl, iterations=int(t), beta=float(beta)), int(t)
    t = int(settings.iternorm)
    found[f"{ITERNORM} T={t}"] = partial(_intl, iterations=t, beta=0.0), t
    found[PLAIN] = _plain, 0
    return found


def _intl(views: list[Tensor], iterations: int, beta: float) -> Tensor:
    return intl_loss_func(views, axis="batch", iterations=iterations, beta=beta).loss


def _plain(views: list[Tensor]) -> Tensor:
    """norm_mse of the embeddings as they are."""
    return 2 - 2 * functional.cosine_similarity(views[0].float(), views[1].float()).mean()


def cells(settings: DictConfig) -> dict[str, Cell]:
    return {
        f"{name}, seed {seed}": partial(train, settings, *variant, seed)
        for name, variant in variants(settings).items()
        for seed in settings.seeds
    }


def run_config(settings: DictConfig, seed: int) -> DictConfig:
    """Data, network and views, by the package's configuration of the data set."""
    cfg = read_config(config_folder(settings.config), "intl")
    cfg = DictConfig(OmegaConf.merge(cfg, settings.overrides))
    cfg.seed = seed
    return cfg


def small_network(width: int) -> tuple[nn.Module, int]:
    """Four 3x3 convolutions of stride 2 with BatchNorm and ReLU, of width, 2, 4 and 8 width channels, and the
    mean over pixels; and the number of features. For sizes at which a ResNet takes hours."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((3, width, 2 * width, 4 * width, 8 * width)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8 * width


def two_layer(features: int, hidden: int, output: int) -> nn.Sequential:
    """D.2's projector, unlike section 4's three layers: BatchNorm and ReLU after the hidden one."""
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, output),
    )


def rate(settings: DictConfig, step: int) -> float:
    """Factor of the learning rate: linear warm-up, then drops."""
    dropped = sum(step >= part * settings.steps for part in settings.drop_at)
    return min(1.0, (step + 1) / settings.warmup) * float(settings.drop) ** dropped


def train(settings: DictConfig, loss_of: Loss, iterations: int, seed: int) -> dict[str, Any]:
    """Eigenvalues of embedding and output over steps, both divided by their sum, then the accuracies."""
    cfg = run_config(settings, seed)
    torch.manual_seed(seed)
    device = torch.device("cuda" if uses_gpu("auto") else "cpu")
    width = int(settings.small_width)
    backbone, features = small_network(width) if width else host.build_backbone(cfg)
    network = nn.Sequential(backbone, two_layer(features, int(settings.hidden), int(settings.output)))
    network = network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, settings))
    fast = device.type == "cuda" or cpu_computes_bf16()
    record: dict[str, Any] = {"step": [], "loss": [], "embedding": [], "output": []}
    for step, images in enumerate(itertools.islice(_batches(cfg, settings, seed), settings.steps)):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast):
            views = [network(x.to(device, memory_format=torch.channels_last)) for x in images]
        loss = loss_of(views)
        if step % settings.every == 0 or step == settings.steps - 1:
            z = views[0].detach().float()
            output = iternorm(z, iterations=iterations, axis="batch") if iterations else z
            for key, value in (("embedding", z), ("output", output)):
                spectrum = covariance_eigenvalues(value).clamp(min=0)
                record[key].append((spectrum / spectrum.sum()).tolist())
            record["step"].append(step)
            record["loss"].append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {**record, **judge_network(cfg, backbone.eval().to("cpu"))._asdict()}


def _batches(cfg: DictConfig, settings: DictConfig, seed: int) -> Iterator[list[Tensor]]:
    """Pairs of views of shuffled batches without end."""
    images = _load_images(OmegaConf.to_yaml(cfg.data))
    make_views = BatchedViews(cfg.augmentations, *normalization(cfg.data, cfg.augmentations), seed)
    g = torch.Generator().manual_seed(seed)
    for step in itertools.count():
        if step % (len(images) // settings.batch_size) == 0:
            order = iter(torch.randperm(len(images), generator=g).split(int(settings.batch_size)))
        yield make_views(images[next(order)], step)[:2]


@cache
def _load_images(data: str) -> Tensor:
    """The training images, uint8 [n, 3, height, width], of a data configuration as YAML."""
    return MemoryImages(open_split(DictConfig(OmegaConf.create(data)), "train")).images


def report(results: dict[str, Any], settings: DictConfig) -> Report:
    """Spectra and accuracies at the end."""
    runs = {name: [results[f"{name}, seed {seed}"] for seed in settings.seeds] for name in variants(settings)}
    return Report(
        ablation_claims(runs, int(settings.output)), ablation_rows(runs, settings), ablation_figure(runs)
    )
