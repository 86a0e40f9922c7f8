"""One of the processes of test_barlow.py: python barlow_worker.py RANK WORLD FILE."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from solo_intl.config import pretrain_settings
from solo_intl.host import METHODS


def main(rank: int, world: int, file: Path) -> None:
    torch.set_default_dtype(torch.float64)  # solo-learn makes a BatchNorm inside the loss
    dist.init_process_group("gloo", init_method=f"file://{file}.store", rank=rank, world_size=world)
    given = torch.load(file, weights_only=True)
    model = METHODS["barlow_twins"](pretrain_settings(OmegaConf.create(given["cfg"]))).double()
    model.projector.load_state_dict(given["projector"])
    # the loss function that the class itself calls
    loss_function = sys.modules["solo.losses.barlow"].barlow_loss_func
    z1, z2 = (model.projector(view) for view in given["features"][rank])
    loss = loss_function(z1, z2, lamb=0.0051, scale_loss=0.1)
    loss.backward()
    gradients = [parameter.grad for parameter in model.projector.parameters()]
    for gradient in gradients:
        dist.all_reduce(gradient)  # DistributedDataParallel's mean
        gradient /= world
    torch.save({"loss": loss.detach(), "gradients": gradients}, f"{file}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
