"""Claims: `pretrain` of INTL-EMA with six views on two processes of torchrun, and of INTL on two nodes (both
this machine) of one process each, takes its steps at the learning rate of the global batch and leaves one
run folder, whose checkpoint `knn` reads."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from solo_intl.cli import main

ROOT = Path(__file__).resolve().parents[2]
# digits, because they are on every machine
SMALL = [
    *("data.dataset=digits", "data.max_images=64", "data.num_workers=0", "optimizer.batch_size=16"),
    *("method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64", "backbone.stem_stride=2"),
    *("max_epochs=1", "limit_val_batches=0", "accelerator=cpu", "strategy=ddp"),
]


def start(
    place: Path, *arguments: str, launcher: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "solo_intl.cli", "pretrain", *arguments, *SMALL],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=place,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            **environment,
        },
    )


def check_run(place: Path) -> dict[str, Any]:
    """The checkpoint of the one run under ``place``, of 64 images on two processes of 16."""
    assert [path.name for path in place.iterdir()] == ["runs"]
    (folder,) = (place / "runs" / "pretrain").iterdir()
    final = json.loads((folder / "metrics.json").read_text())
    assert final["steps"] == 2
    assert math.isfinite(final["metrics"]["train_intl_loss_epoch"])
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    base = OmegaConf.load(folder / "config.yaml").optimizer.lr
    assert saved["solo_intl"]["cfg"]["optimizer"]["lr"] == pytest.approx(base * 32 / 256)
    return saved


def test_intl_ema_with_six_views_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = ["--config-path=scripts/pretrain/fashion-mnist", "--config-name=intl_ema_multicrop"]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    process = start(tmp_path, *yaml, "devices=2", launcher=torchrun)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    saved = check_run(tmp_path)
    sizes = [view["crop_size"] for view in saved["solo_intl"]["cfg"]["augmentations"]]
    assert sizes == [28, 28, 24, 20, 16, 12]
    state = saved["state_dict"]
    assert not torch.equal(state["momentum_projector.0.weight"], state["projector.0.weight"])

    monkeypatch.chdir(tmp_path)
    assert main(["knn"]) == 0
    (evaluated,) = (tmp_path / "runs" / "knn").iterdir()
    assert 0 < json.loads((evaluated / "metrics.json").read_text())["metrics"]["top1"] <= 100


def test_two_nodes_share_one_run(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
    nodes = [start(tmp_path, "num_nodes=2", "devices=1", NODE_RANK=str(n), **address) for n in range(2)]
    for process in nodes:
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
    check_run(tmp_path)
