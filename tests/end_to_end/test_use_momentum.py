"""Claims: `linear`, `knn`, `finetune` and `embed` take the online backbone unless `use_momentum=true`, which
takes the momentum one; they say which; without a momentum network in the file that is one line and exit
code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from solo_intl.cli import main
from solo_intl.data import eval_transform, normalization, open_split
from solo_intl.evaluation import extract_features, load_backbone

SMALL = [
    *("max_epochs=2", "data.num_workers=0", "data.max_images=64", "optimizer.batch_size=16"),
    *("backbone.stem_stride=2", "method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64"),
    "precision=32-true",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of either method."""
    found = {}
    for method in ("intl", "intl_ema"):
        place = tmp_path_factory.mktemp(method)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
            faster = ["momentum.base_tau=0.5"] if method == "intl_ema" else []
            assert main(["pretrain", f"method={method}", *SMALL, *faster]) == 0
        (found[method],) = place.glob("runs/pretrain/*/checkpoints/last.ckpt")
    return found


@pytest.mark.parametrize("network", ["online", "momentum"])
def test_the_features_are_the_networks(trained: dict[str, Path], tmp_path: Path, network: str, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = trained["intl_ema"]
    switch = ["use_momentum=true"] if network == "momentum" else []
    given = [f"pretrained_feature_extractor={checkpoint}", "precision=32-true", *switch]
    assert main(["embed", *given]) == 0
    (folder,) = (tmp_path / "runs" / "embed").iterdir()
    assert json.loads((folder / "metrics.json").read_text())["network"] == network

    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    prefix = "momentum_backbone." if network == "momentum" else "backbone."
    loaded = load_backbone(checkpoint)  # the architecture; the weights come straight from the file
    loaded.backbone.load_state_dict(
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    )
    statistics = normalization(loaded.cfg.data, loaded.cfg.augmentations)
    images = open_split(loaded.cfg.data, "val", eval_transform(16, *statistics))
    expected = extract_features(loaded.backbone, images, batch_size=64, device="cpu", precision="32-true")
    np.testing.assert_allclose(np.load(folder / "features.npy"), expected.x.numpy(), rtol=1e-4, atol=1e-5)


def test_the_two_networks_differ(trained: dict[str, Path]):
    online, momentum = (
        load_backbone(trained["intl_ema"], network=name).backbone.state_dict()
        for name in ("online", "momentum")
    )
    assert not any(torch.equal(online[key], momentum[key]) for key in ("conv1.weight", "bn1.running_mean"))


@pytest.mark.parametrize("command", ["knn", "linear", "linear sgd", "finetune"])
def test_every_evaluation_has_the_switch(
    trained: dict[str, Path], tmp_path: Path, command: str, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [f"pretrained_feature_extractor={trained['intl_ema']}", "use_momentum=true"]
    if command == "linear sgd":
        given += [
            "--config-path=linear/cifar",
            "--config-name=sgd",
            "data.dataset=digits",
            "data.num_workers=0",
        ]
    if command == "finetune":
        given += ["data.num_workers=0", "optimizer.lr=1e-9", "precision=32-true"]
    epochs = ["max_epochs=1"] if command != "knn" else []
    name = command.split()[0]
    assert main([name, *given, *epochs]) == 0
    assert "momentum" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / name).iterdir()
    final = json.loads((folder / "metrics.json").read_text())
    assert final["network"] == "momentum"
    assert 0 <= final["metrics"]["top1"] <= 100
    if command in ("linear sgd", "finetune"):
        kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        wanted = load_backbone(trained["intl_ema"], network="momentum").backbone.state_dict()
        tolerance = 0.0
        if command == "finetune":  # running statistics move, and weights at the rate above
            tolerance = 1e-6
            wanted = {key: value for key, value in wanted.items() if value.ndim == 4}
        for key, value in wanted.items():
            torch.testing.assert_close(kept[f"backbone.{key}"], value, rtol=0, atol=tolerance)


def test_export_has_the_switch(trained: dict[str, Path], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [
        f"pretrained_feature_extractor={trained['intl_ema']}",
        "use_momentum=true",
        "output=out.safetensors",
    ]
    assert main(["export", "to=safetensors", "output=out.safetensors", *given]) == 0
    wanted = load_backbone(trained["intl_ema"], network="momentum").backbone.state_dict()
    written = load_file("out.safetensors")
    assert all(torch.equal(written[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("command", ["knn", "linear", "embed", "finetune", "export"])
def test_without_a_momentum_network_it_is_one_line(
    trained: dict[str, Path], tmp_path: Path, command: str, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [f"pretrained_feature_extractor={trained['intl']}", "use_momentum=true"]
    assert main([command, *given, *(["to=timm"] if command == "export" else [])]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "given, using" not in line]
    assert len(errors) == 1
    assert "found no momentum network" in errors[0]
    assert "use_momentum=false" in errors[0]
    assert list(tmp_path.iterdir()) == []
