"""Claim: `pretrain` of INTL-EMA with six views on two processes takes its steps with the learning rate of the
global batch, and leaves one run folder whose checkpoint `knn` reads."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from solo_intl.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_intl_ema_with_six_views_on_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = ["--config-path=scripts/pretrain/fashion-mnist", "--config-name=intl_ema_multicrop"]
    # digits, because they are on every machine
    small = ["data.dataset=digits", "data.max_images=64", "optimizer.batch_size=16", "data.num_workers=0"]
    narrow = ["method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64", "backbone.stem_stride=2"]
    ddp = ["devices=2", "strategy=ddp", "accelerator=cpu", "max_epochs=1", "limit_val_batches=0"]
    done = subprocess.run(
        [sys.executable, "-m", "solo_intl.cli", "pretrain", *yaml, *small, *narrow, *ddp],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=1200,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        },
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    (folder,) = (tmp_path / "runs" / "pretrain").iterdir()
    final = json.loads((folder / "metrics.json").read_text())
    assert final["steps"] == 2  # 64 images, 2 processes of 16
    assert math.isfinite(final["metrics"]["train_intl_loss_epoch"])
    last = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    stated = saved["solo_intl"]["cfg"]
    assert [view["crop_size"] for view in stated["augmentations"]] == [28, 28, 24, 20, 16, 12]
    config = (folder / "config.yaml").read_text()
    base = next(float(line.split()[1]) for line in config.splitlines() if line.startswith("  lr:"))
    assert stated["optimizer"]["lr"] == pytest.approx(base * 32 / 256)
    state = saved["state_dict"]
    assert not torch.equal(state["momentum_projector.0.weight"], state["projector.0.weight"])

    monkeypatch.chdir(tmp_path)
    assert main(["knn", f"pretrained_feature_extractor={last}"]) == 0
    (evaluated,) = (tmp_path / "runs" / "knn").iterdir()
    assert 0 < json.loads((evaluated / "metrics.json").read_text())["metrics"]["top1"] <= 100
