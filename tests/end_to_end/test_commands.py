"""Claims: pretrain, linear (both protocols), knn and embed run one after the other on a checkpoint that names
everything they need; each writes one folder and nothing elsewhere; a stopped run continues; two processes
share one run; solo-learn's own checkpoints are read; the paper's CIFAR file starts and steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import SMALL, run_cli

from solo_intl.cli import main
from solo_intl.evaluation import load_backbone


def newest(place: Path, command: str) -> Path:
    folders = sorted((place / "runs" / command).iterdir(), key=lambda p: p.stat().st_mtime)
    return folders[-1]


def test_pretrain_writes_one_folder_and_nothing_elsewhere(trained: Path):
    assert [p.name for p in trained.iterdir()] == ["runs"]
    folder = newest(trained, "pretrain")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "metrics.json",
        "spectrum.npz",
        "views.npz",
        "checkpoints/last.ckpt",
    }
    final = json.loads((folder / "metrics.json").read_text())
    assert final["steps"] == 4
    assert {"train_intl_loss_epoch", "train_trace_excess_epoch", "val_acc1"} <= set(final["metrics"])
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["solo-learn"]["generation"] in ("head", "1.0.2")
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    with (folder / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) >= 1


@pytest.mark.parametrize("command", ["knn", "linear"])
def test_evaluation_takes_the_newest_run_by_default(trained: Path, command: str, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    extra = ["max_epochs=5"] if command == "linear" else []
    assert main([command, *extra]) == 0
    out = capsys.readouterr().out
    assert "using runs/pretrain" in out
    assert "digits" in out
    metrics = json.loads((newest(trained, command) / "metrics.json").read_text())["metrics"]
    assert 0 < metrics["top1"] <= metrics["top5"] <= 100


def test_knn_is_what_the_checkpoint_gives_and_repeats(trained: Path, monkeypatch):
    monkeypatch.chdir(trained)
    for _ in range(2):
        assert main(["knn"]) == 0
    runs = sorted((trained / "runs" / "knn").iterdir())
    figures = [json.loads((run / "metrics.json").read_text())["metrics"]["top1"] for run in runs[-2:]]
    assert figures[0] == figures[1]


def test_linear_by_sgd_repeats_and_leaves_the_backbone_alone(trained: Path, monkeypatch):
    monkeypatch.chdir(trained)
    pretrained = newest(trained, "pretrain") / "checkpoints" / "last.ckpt"
    states = []
    for seed in (3, 3, 4):
        arguments = [
            "linear",
            "--config-path=linear/cifar",
            "--config-name=sgd",
            "data.dataset=digits",
            "data.max_images=256",
            "max_epochs=2",
            "data.num_workers=1",  # a worker's own draws repeat too
            "optimizer.batch_size=64",
            f"seed={seed}",
            f"pretrained_feature_extractor={pretrained}",
        ]
        assert main(arguments) == 0
        folder = newest(trained, "linear")
        states.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
        assert 0 <= json.loads((folder / "metrics.json").read_text())["metrics"]["top1"] <= 100
    for key, value in load_backbone(pretrained).backbone.state_dict().items():
        # running statistics too: the backbone was in evaluation mode
        torch.testing.assert_close(states[0][f"backbone.{key}"], value, rtol=0, atol=0)
    first, again, other = (state["classifier.weight"] for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_embed_own_folder(trained: Path, tmp_path: Path, kind: str, monkeypatch):
    monkeypatch.chdir(trained)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, shade in (("b.png", 200), ("a.jpg", 20)):
        Image.new("RGB", (30, 20), (shade, 0, 0)).save(photos / name)
    assert main(["embed", f"folder={photos}", f"format={kind}"]) == 0
    folder = newest(trained, "embed")
    if kind == "csv":
        x = np.load(folder / "features.npy")
        rows = list(csv.DictReader((folder / "names.csv").open()))
        assert [row["name"] for row in rows] == ["a.jpg", "b.png"]
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(folder / "embeddings.parquet")
        x = np.array(table["feature"].to_pylist())
        assert table["name"].to_pylist() == ["a.jpg", "b.png"]
    assert x.shape == (2, 512)
    assert not np.allclose(x[0], x[1])


def test_resume_continues_where_it_stood(trained: Path, monkeypatch):
    monkeypatch.chdir(trained)
    last = newest(trained, "pretrain") / "checkpoints" / "last.ckpt"
    assert main(["pretrain", *SMALL, "max_epochs=2", f"resume_from_checkpoint={last}"]) == 0
    final = json.loads((newest(trained, "pretrain") / "metrics.json").read_text())
    assert (final["steps"], final["epochs"]) == (8, 2)


def test_auto_resume_finds_the_unfinished_run_and_only_that(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["pretrain", *SMALL, "max_epochs=2", "auto_resume.enabled=true"]
    assert main([*arguments, "limit_val_batches=0"]) == 0
    first = newest(tmp_path, "pretrain")
    assert "auto_resume" not in capsys.readouterr().out, "nothing to continue yet"
    before = json.loads((first / "metrics.json").read_text())
    (first / "metrics.json").unlink()  # as if it had been stopped after its last checkpoint
    rows = (first / "metrics.csv").read_text().splitlines()
    (first / "metrics.csv").write_text("\n".join(rows)[:-3])  # and while it wrote its last line
    assert main([*arguments, "limit_val_batches=0", "seed=9"]) == 0
    assert "auto_resume continues" not in capsys.readouterr().out, "another configuration"
    assert main([*arguments, "limit_val_batches=0"]) == 0
    assert f"auto_resume continues {first.relative_to(tmp_path)}" in capsys.readouterr().out
    assert len(list((tmp_path / "runs" / "pretrain").iterdir())) == 2, "it ends in its own folder"
    after = json.loads((first / "metrics.json").read_text())
    assert (after["steps"], after["epochs"]) == (before["steps"], before["epochs"])
    read = csv.DictReader(rows)
    losses = [float(row["train_intl_loss_epoch"]) for row in read if row["train_intl_loss_epoch"]]
    assert after["metrics"]["train_intl_loss_epoch"] == losses[0], "the last line is the second epoch's"
    assert after["seconds"] == pytest.approx(before["metrics"]["seconds"], abs=0.5), "the checkpoint's"
    assert after["peak_memory_gib"] is None, "that of the process which trained is not known"
    again = f"resume_from_checkpoint={first / 'checkpoints' / 'last.ckpt'}"
    assert main([*arguments, "limit_val_batches=0", again]) == 2
    assert "has all its epochs" in capsys.readouterr().err
    assert len(list((tmp_path / "runs" / "pretrain").iterdir())) == 2


def test_tensorboard_by_a_switch(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", *SMALL, "tensorboard.enabled=true", "limit_train_batches=1"]) == 0
    assert list(newest(tmp_path, "pretrain").glob("tensorboard/events.*"))


def test_a_runs_own_config_repeats_it(trained: Path, monkeypatch):
    monkeypatch.chdir(trained)
    first = sorted((trained / "runs" / "pretrain").iterdir())[0]
    assert main(["pretrain", "--config-path", str(first), "--config-name", "config"]) == 0
    figures = [
        json.loads((folder / "metrics.json").read_text())["metrics"]["train_intl_loss_epoch"]
        for folder in (first, newest(trained, "pretrain"))
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("content", ["junk", "another network"])
def test_a_checkpoint_that_cannot_be_resumed_leaves_nothing(
    content: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.ckpt"
    if content == "junk":
        bad.write_bytes(b"junk")
    else:
        torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}, "epoch": 0}, bad)
    assert main(["pretrain", *SMALL, f"resume_from_checkpoint={bad}"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "solo-intl: error" in line]
    assert len(errors) == 1
    assert "bad.ckpt" in errors[0]
    assert not list((tmp_path / "runs" / "pretrain").glob("*")) if (tmp_path / "runs").exists() else True


def test_the_last_epoch_is_saved_whatever_the_frequency(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fast = ["max_epochs=3", "checkpoint.frequency=2", "limit_train_batches=1", "limit_val_batches=0"]
    assert main(["pretrain", *SMALL, *fast]) == 0
    last = newest(tmp_path, "pretrain") / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 2


def test_accumulation_counts_images_and_steps(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["pretrain", *SMALL, "accumulate_grad_batches=2", "limit_val_batches=0"]
    assert main(arguments) == 0
    final = json.loads((newest(tmp_path, "pretrain") / "metrics.json").read_text())
    assert final["steps"] == 2
    assert final["images_per_second"] * final["seconds"] == pytest.approx(64, rel=0.05)
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "0.125 effective" in out, "solo-learn multiplies the rate by the accumulated batches"
    assert "2 in 1 epochs" in out


def test_two_processes_share_one_run(tmp_path: Path):
    ddp = ["devices=2", "strategy=ddp", "accelerator=cpu", "limit_val_batches=0"]
    done = run_cli("pretrain", *SMALL, *ddp, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = list((tmp_path / "runs" / "pretrain").iterdir())
    assert len(folders) == 1
    final = json.loads((folders[0] / "metrics.json").read_text())
    assert final["steps"] == 2  # 64 images, 2 processes of 16
    saved = torch.load(folders[0] / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["solo_intl"]["cfg"]["optimizer"]["lr"] == pytest.approx(1.0 * 32 / 256)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_data_and_doctor_say_what_is_here(capsys):
    assert main(["data"]) == 0
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("digits", "cifar100", "1,437", "solo-learn", "precision: auto", "GPUs"):
        assert word in out


def test_a_configuration_can_be_printed(capsys):
    assert main(["pretrain", "max_epochs=7", "--cfg", "job", "seed=9"]) == 0
    out = capsys.readouterr().out
    assert "max_epochs: 7" in out
    assert "seed: 9" in out


def test_the_demo_compares_and_draws(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # the way of a processor without AMX: a quarter of the work
    monkeypatch.setattr("solo_intl.experiments.demo.cpu_has_amx", lambda: False)
    assert main(["experiment", "demo", "max_epochs=1"]) == 0
    folder = next((tmp_path / "runs" / "experiment").iterdir())
    results = json.loads((folder / "results.json").read_text())
    assert set(results["results"]) == {"raw pixels", "untrained ResNet-18", "INTL ResNet-18"}
    assert results["results"]["raw pixels"][0]["knn"] > 95
    assert (folder / "demo.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "a stride-2 stem" in out
    assert "5-NN" in out
    assert "INTL ResNet-18" in out


def test_dry_run_measures_and_writes_nothing(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "--dry-run", *SMALL, "max_epochs=3"]) == 0
    out = capsys.readouterr().out
    for line in ("0.0625 effective", "12 in 3 epochs", "million", "GiB", "estimated training time"):
        assert line in out
    assert list(tmp_path.iterdir()) == []


def test_the_papers_cifar_yaml_starts_and_steps(tmp_path: Path, monkeypatch):
    import cifar_files

    monkeypatch.chdir(tmp_path)
    cifar_files.write_cifar100(tmp_path / "datasets", 300, 0)
    arguments = ["--config-path=scripts/pretrain/cifar", "--config-name=intl", "data.dataset=cifar100"]
    fast = ["max_epochs=1", "limit_train_batches=1", "limit_val_batches=1", "data.num_workers=0"]
    fast += ["++backbone.stem_stride=2"]  # a quarter of the work
    assert main(["pretrain", *arguments, *fast]) == 0
    final = json.loads((newest(tmp_path, "pretrain") / "metrics.json").read_text())
    assert final["steps"] == 1
    assert final["metrics"]["train_intl_loss_epoch"] > 20  # just above 2 beta m (1 - h)^2 = 20.96


def test_solo_learns_own_checkpoints_are_read(tmp_path: Path, make_cfg, monkeypatch, capsys):
    from solo_intl.engine.pretrain import prepare

    monkeypatch.chdir(tmp_path)
    run = prepare(make_cfg(dry_run=True))
    for style in ("backbone", "encoder"):
        state = {k.replace("backbone.", f"{style}."): v for k, v in run.model.state_dict().items()}
        path = tmp_path / f"{style}-ep=3.ckpt"  # solo-learn's way of naming them
        torch.save({"state_dict": state, "epoch": 3}, path)
        network = ["backbone.name=resnet18", "backbone.stem_stride=2", "image_size=16"]
        assert main(["knn", f"pretrained_feature_extractor={path}", "data.dataset=digits", *network]) == 0
    a, b = sorted((tmp_path / "runs" / "knn").iterdir())[-2:]
    tops = [json.loads((r / "metrics.json").read_text())["metrics"]["top1"] for r in (a, b)]
    assert tops[0] == tops[1]
