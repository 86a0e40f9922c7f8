"""Claims: `export` turns a real pre-training run into files that torchvision and timm load by the printed
Python, with the features of the checkpoint; it writes one run folder, or with output= one file and nothing
else; the INTL authors' file layouts go through export, knn, both linear protocols, finetune and embed as they
are; mistakes are one line and leave nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from solo_intl.cli import main
from solo_intl.evaluation import load_backbone

TINY = ["data.dataset=digits", "data.max_images=40", "data.num_workers=0", "image_size=16"]


def checkpoint(place: Path) -> Path:
    return next((place / "runs" / "pretrain").glob("*/checkpoints/last.ckpt"))


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def same_features(model: nn.Module, path: Path) -> None:
    loaded = load_backbone(path)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), loaded.backbone(images), atol=1e-6, rtol=0)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_run_folder_with_what_the_library_loads(trained: Path, library: str, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["export", "--to", library]) == 0
    out = capsys.readouterr().out
    folder = sorted((trained / "runs" / "export").iterdir(), key=lambda p: p.stat().st_mtime)[-1]
    assert files(folder) == {"config.yaml", "environment.json", "metrics.json", f"resnet18-{library}.pth"}
    final = json.loads((folder / "metrics.json").read_text())
    assert "stride 2, padding 1) and no max-pool" in final["stem"]
    assert "no max-pool" in out
    usage = "\n".join(final["usage"])
    assert usage in out
    names: dict[str, Any] = {}
    exec(usage, names)
    same_features(names["model"], checkpoint(trained))
    assert "dataset: digits" in (folder / "config.yaml").read_text()
    assert main(["export", "--config-path", str(folder), "--config-name", "config"]) == 0


@pytest.mark.parametrize("flag", [["--to", "safetensors"], ["--to=safetensors"], ["to=safetensors"]])
def test_output_names_the_one_file_written(trained: Path, flag: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(trained)
    before = files(trained)
    out = tmp_path / "new" / "intl.safetensors"
    path = f"pretrained_feature_extractor={checkpoint(trained)}"
    assert main(["export", *flag, path, f"output={out}"]) == 0
    assert files(trained) == before
    assert files(tmp_path) == {"new/intl.safetensors"}
    own = load_backbone(checkpoint(trained)).backbone.state_dict()
    weights = safetensors.torch.load_file(out)
    assert all(torch.equal(weights[key], own[key]) for key in own)
    assert main(["knn", f"pretrained_feature_extractor={out}", f"checkpoint.dir={tmp_path / 'runs'}"]) == 0


def authors_file(layout: str, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torchvision.models.resnet18().state_dict()
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    content: dict[str, Any] = {
        "backbone": state,
        "state_dict": {"state_dict": state},
        "model": {"model": state},
    }
    content["full"] = {
        "epoch": 100,
        "arch": "resnet18",
        "state_dict": {
            **{f"module.momentum_backbone.{key}": torch.zeros_like(value) for key, value in state.items()},
            **{f"module.backbone.{key}": value for key, value in state.items()},
            "module.projection.0.weight": torch.zeros(8, 512),
        },
    }
    path = folder / f"{layout}.pth.tar"
    torch.save(content[layout], path)
    return path


def test_every_layout_of_the_authors_gives_knn_the_same_answer(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = set()
    for layout in ("full", "backbone", "state_dict", "model"):
        given = f"pretrained_feature_extractor={authors_file(layout, tmp_path)}"
        monkeypatch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
        assert main(["knn", given, *TINY, f"name={layout}"]) == 0
        folder = next((tmp_path / "runs" / "knn").glob(f"{layout}-*"))
        figures.add(json.loads((folder / "metrics.json").read_text())["metrics"]["top1"])
    assert len(figures) == 1
    assert figures.pop() > 10


def test_the_authors_two_layouts_go_through_the_other_commands(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = torch.load(authors_file("backbone", tmp_path), weights_only=True)
    sgd = ["--config-path=linear/cifar", "--config-name=sgd", "optimizer.batch_size=20"]
    few = ["data.fraction=-1", "crop_min_scale=0.5", "optimizer.batch_size=20"]
    for layout in ("full", "backbone"):  # that k-NN reads all four alike is shown above
        given = [f"pretrained_feature_extractor={authors_file(layout, tmp_path)}", f"name={layout}"]
        for command, more in {
            "linear": ["max_epochs=2"],
            "linear by sgd": [*sgd, "max_epochs=1"],
            "finetune": [*few, "max_epochs=1"],
            "embed": [],
        }.items():
            monkeypatch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
            place = tmp_path / "runs" / command / layout
            assert main([command.split()[0], *given, *TINY, *more, f"checkpoint.dir={place}"]) == 0
            if command in ("linear by sgd", "finetune"):
                kept = torch.load(next(place.glob("*/*/checkpoints/last.ckpt")), weights_only=True)
                for key, value in own.items():
                    if key.endswith("weight"):
                        moved = (kept["state_dict"][f"backbone.{key}"] - value).norm() / value.norm()
                        assert (0 < moved < 0.1) if command == "finetune" else moved == 0
        for to, name in (("torchvision", f"{layout}.pth"), ("detectron2", f"{layout}.pkl")):
            assert main(["export", f"to={to}", given[0], f"output={name}"]) == 0
        network = torchvision.models.resnet18()
        network.fc = nn.Identity()
        network.load_state_dict(torch.load(f"{layout}.pth", weights_only=True))
        assert all(torch.equal(value, own[key]) for key, value in network.state_dict().items())
    features = [np.load(path) for path in tmp_path.glob("runs/embed/*/embed/*/features.npy")]
    assert len(features) == 2
    assert np.array_equal(*features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "to: found None, accepted: torchvision, timm, safetensors, detectron2"),
        (["--to"], "--to: found nothing after it"),
        (["--to", "tim"], "to: found 'tim', accepted: "),
        (["to=timm", "outptu=x"], "outptu: unknown key, nearest: output"),
        (["to=timm", "use_momentum=2"], "use_momentum: found 2, accepted: true, false"),
        (["to=timm", "use_momentum=true"], "last.ckpt: found no momentum network"),
        (["to=detectron2"], "to: found 'detectron2' for 3x3 convolution"),
        (
            ["to=safetensors", "output=new/a.pth"],
            "output: found a.pth, accepted: a name that ends in .safetensors",
        ),
        (["to=timm", "output=taken"], "taken: found a folder"),
        (["to=timm", "pretrained_feature_extractor=none.ckpt"], "none.ckpt: found no such file"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    trained: Path, arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    os.symlink(trained / "runs", tmp_path / "runs")
    (tmp_path / "taken").mkdir()
    before = files(trained)
    assert main(["export", *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "given, using" not in line]
    assert len(errors) == 1, errors
    assert message in errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "taken"}
    assert files(trained) == before


def test_a_foreign_file_needs_its_data_set_where_images_are_read(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = authors_file("backbone", tmp_path)
    assert main(["knn", f"pretrained_feature_extractor={path}"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "given, using" not in line]
    assert len(errors) == 1
    assert "data.dataset: found none" in errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"backbone.pth.tar"}


def test_help_names_it(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert any(line.split()[:1] == ["export"] for line in out.splitlines())
    for layout in ("torchvision", "timm", "safetensors", "detectron2"):
        assert layout in out
