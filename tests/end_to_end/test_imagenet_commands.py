"""Claim: the commands that docs/reproduce.md gives for ImageNet run one after the other on class folders, as
the page chains them by `checkpoint.dir`: pre-training, linear evaluation (as there on two processes),
fine-tuning on a list of labelled images, k-NN. Only the network and the run are made small."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from small_run import run_cli

from solo_intl.cli import main
from solo_intl.data import open_split

SMALL = ["accelerator=cpu", "precision=32-true", "data.num_workers=0"]
SHORT = ["max_epochs=1", "optimizer.batch_size=16", *SMALL]
RESNET_18 = ["backbone.name=resnet18", "method_kwargs.proj_hidden_dim=16", "method_kwargs.proj_output_dim=16"]


def test_the_page_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    scans = open_split({"dataset": "digits"}, "train")
    for split, count in (("train", 16), ("val", 2)):
        for i in range(count):
            folder = tmp_path / "datasets" / "imagenet" / split / f"n{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            scans[i][0].convert("RGB").resize((64, 48), Image.Resampling.BILINEAR).save(folder / f"{i}.JPEG")
    runs = "checkpoint.dir=runs/intl_100ep"
    cell = ["--config-path", "scripts/pretrain/imagenet", "--config-name", "intl_100ep"]
    assert main(["pretrain", *cell, runs, *SHORT, *RESNET_18]) == 0
    two = ["devices=[0,1]", "strategy=ddp"]
    linear = ["linear", "--config-path", "scripts/linear/imagenet", "--config-name", "intl"]
    done = run_cli(*linear, runs, *SHORT, *two, "optimizer.batch_size=8")
    assert done.returncode == 0, done.stderr
    (tmp_path / "1percent.txt").write_text("n0/0.JPEG\nn1/1.JPEG\n")
    share = ["--config-path", "scripts/finetune/imagenet", "--config-name", "1percent"]
    chosen = ["data.subset_file=1percent.txt", "data.fraction=-1"]
    assert main(["finetune", *share, runs, *chosen, *SHORT]) == 0
    assert main(["knn", runs, "k=1", *SMALL]) == 0
    for command in ("linear", "finetune", "knn"):
        (folder,) = (tmp_path / "runs" / "intl_100ep" / command).iterdir()
        final = json.loads((folder / "metrics.json").read_text())
        assert final["checkpoint"].startswith("runs/intl_100ep/pretrain/")
        assert 0 <= final["metrics"]["top1"] <= 100
