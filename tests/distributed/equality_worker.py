"""All processes of test_equality.py, run as a script: WORLD_SIZE FOLDER.

Every case is METHODS["intl"] or METHODS["intl_ema"] under the engine's own Trainer, with backbone and
projector replaced by a network without normalisation: BatchNorm would normalise each process's part by itself
(and SyncBatchNorm needs a GPU). The models are built once, before the processes are forked; one more process,
alone, is the reference: the same steps on the joined batches.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from solo_intl.config import pretrain_settings, scale_learning_rate
from solo_intl.engine.trainer import build_trainer
from solo_intl.errors import UserError
from solo_intl.host import METHODS
from solo_intl.register import register

# 40 images on two processes: smaller whitened batches are computed in fp64
LOCAL_BATCH, STEPS, CLASSES = 20, 2, 3
SIZES = {"two views": (8, 8), "multi-crop": (8, 8, 6, 4)}
DTYPES = {"32-true": torch.float32, "64-true": torch.float64}
CASES = [
    (method, views, precision) for method in ("intl", "intl_ema") for views in SIZES for precision in DTYPES
]
UNEQUAL = [("intl", "two views", "32-true"), ("intl_ema", "two views", "32-true")]


@dataclass
class Record(Callback):
    """What one process saw: per step the loss, the embeddings' gradients and the parameters' gradients."""

    losses: list[torch.Tensor] = field(default_factory=list)
    embeddings: dict[int, torch.Tensor] = field(default_factory=dict)  # by number of the forward pass
    forwards: int = 0
    parameters: list[dict[str, torch.Tensor]] = field(default_factory=list)
    bucketed: int | None = None

    def on_train_start(self, trainer: Any, module: Any) -> None:
        module.loss.register_forward_hook(lambda _, args, out: self.losses.append(out.loss.detach()))
        module.projector.register_forward_hook(self.follow)

    def follow(self, projector: nn.Module, args: Any, z: torch.Tensor) -> None:
        number, self.forwards = self.forwards, self.forwards + 1

        def keep(gradient: torch.Tensor) -> None:
            self.embeddings[number] = gradient

        z.register_hook(keep)

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        named = module.named_parameters()
        self.parameters.append({name: p.grad.clone() for name, p in named if p.requires_grad})

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if isinstance(trainer.strategy, DDPStrategy):
            buckets = trainer.model.reducer._get_zeros_like_grad_buckets()
            self.bucketed = sum(bucket.buffer().numel() for bucket in buckets)


def configuration(method: str, views: str, world: int) -> DictConfig:
    view = {
        "rrc": {"enabled": False},
        **{key: {"prob": 0.0} for key in ("color_jitter", "grayscale", "gaussian_blur", "solarization")},
        **{key: {"prob": 0.0} for key in ("equalization", "horizontal_flip")},
        "num_crops": 1,
    }
    cfg = pretrain_settings(
        OmegaConf.create(
            {
                "method": method,
                "backbone": {"name": "resnet18"},
                "method_kwargs": {"proj_hidden_dim": 8, "proj_output_dim": 64},
                **({"momentum": {"base_tau": 0.5}} if method == "intl_ema" else {}),
                "data": {"dataset": "digits"},
                "augmentations": [{**view, "crop_size": size} for size in SIZES[views]],
                "optimizer": {"name": "sgd", "batch_size": LOCAL_BATCH, "lr": 1.0, "weight_decay": 1e-4},
                "scheduler": {"name": "none"},
                "max_epochs": 1,
                "devices": world,
                "strategy": "ddp" if world > 1 else "auto",
                "accelerator": "cpu",
                "limit_val_batches": 0,
                "enable_progress_bar": False,
                "use_distributed_sampler": False,  # each process is given its part
            }
        )
    )
    cfg.data.num_classes = CLASSES
    return cfg


def build(method: str, views: str, world: int) -> nn.Module:
    """The method with networks of a few weights; learning rate and beta are left to the library."""
    cfg = scale_learning_rate(configuration(method, views, world), world)
    torch.manual_seed(0)
    model = METHODS[method](cfg)
    convolution = nn.Conv2d(3, 16, 3, stride=2)
    model.backbone = nn.Sequential(
        convolution, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, model.features_dim)
    )
    model.projector = nn.Sequential(nn.Linear(model.features_dim, 32), nn.Tanh(), nn.Linear(32, 64))
    if method == "intl_ema":
        model.momentum_backbone = copy.deepcopy(model.backbone).requires_grad_(False)
        model.momentum_projector = copy.deepcopy(model.projector).requires_grad_(False)
    return model


def batches(views: str, precision: str, world: int, part: slice) -> list[list[Any]]:
    """``STEPS`` joined batches in solo-learn's format, of which ``part`` of the images is taken."""
    generator = torch.Generator().manual_seed(world)
    total, drawn = world * LOCAL_BATCH, []
    for _ in range(STEPS):
        images = [
            torch.randn(total, 3, size, size, generator=generator, dtype=torch.float64)[part].to(
                DTYPES[precision]
            )
            for size in SIZES[views]
        ]
        labels = torch.randint(CLASSES, (total,), generator=generator)[part]
        drawn.append([torch.arange(total)[part], images, labels])
    return drawn


def run_case(model: nn.Module, case: tuple[str, str, str], world: int, processes: int, part: slice) -> Any:
    method, views, precision = case
    model, record = copy.deepcopy(model), Record()
    cfg = configuration(method, views, processes)
    cfg.precision = precision
    given = DataLoader(batches(views, precision, world, part), batch_size=None)  # type: ignore[arg-type]
    try:
        build_trainer(cfg, None, [record]).fit(model, given)
    except UserError as error:
        return str(error)
    return {
        "losses": record.losses,
        "embeddings": record.embeddings,
        "parameters": record.parameters,
        "bucketed": record.bucketed,
        "state": model.state_dict(),
    }


def run_rank(
    rank: int, world: int, processes: int, models: dict[tuple[str, str], nn.Module], folder: Path
) -> None:
    if processes > 1:
        # Lightning then takes the processes as it finds them
        os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")
    share = world * LOCAL_BATCH // processes
    part = slice(rank * share, (rank + 1) * share)
    results = {case: run_case(models[case[:2]], case, world, processes, part) for case in CASES}
    if processes > 1:
        # the last process holds one image fewer
        short = slice(part.start, part.stop - (rank == processes - 1))
        for case in UNEQUAL:
            results[("unequal", *case)] = run_case(models[case[:2]], case, world, processes, short)
    torch.save(results, folder / f"{processes}-{rank}.pt")
    if processes > 1:
        torch.distributed.barrier()  # nobody leaves while another still talks
        torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main(world: int, folder: Path) -> int:
    register()
    models = {(method, views): build(method, views, world) for method, views, _ in CASES}
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    fork = multiprocessing.get_context("fork")
    places = [(rank, world, world) for rank in range(world)] + [(0, world, 1)]
    started = [fork.Process(target=run_rank, args=(*place, models, folder)) for place in places]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return max(abs(process.exitcode or 0) for process in started)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
