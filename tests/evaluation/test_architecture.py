"""Claims: a ResNet's name and stem are read off its weights; the INTL authors' layouts (and any bare ResNet)
then give the features of the network they were saved from, their own padding included, with no name given;
momentum and projection weights are left alone; what shapes can't say is asked for in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from solo_intl.errors import UserError
from solo_intl.evaluation import load_backbone
from solo_intl.evaluation.architecture import resnet_architecture


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvisions_resnets_are_told_apart(name: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    assert resnet_architecture(network.state_dict()) == {"name": name, "stem": "imagenet"}


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnext50_32x4d"])
def test_relatives_are_not_taken_for_them(name: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    assert resnet_architecture(network.state_dict()) == {"stem": "imagenet"}


def authors_network(name: str, cifar: bool) -> nn.Module:
    """Their src/resnet.py pads the image by 1, then by 2 in the 7x7 convolution, where torchvision pads by 3;
    their src/model.py gives CIFAR a 3x3 convolution that pads by 1, after the same constant padding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = getattr(torchvision.models, name)()
        network.fc = nn.Identity()
        network.conv1 = nn.Conv2d(3, 64, 7, 2, 2, bias=False)
        if cifar:
            network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            network.maxpool = nn.Identity()
        network.train()(torch.rand(4, 3, 64, 64))  # running statistics worth keeping
    return nn.Sequential(nn.ConstantPad2d(1, 0.0), network).eval()


def full(state: dict[str, Tensor]) -> dict[str, Any]:
    """Their pre-training checkpoint; with EMA it also holds a momentum pair."""
    other = {f"module.momentum_backbone.{key}": torch.zeros_like(value) for key, value in state.items()}
    head = {f"module.{name}.0.weight": torch.zeros(8, 8) for name in ("projection", "momentum_projection")}
    own = {f"module.backbone.{key}": value for key, value in state.items()}
    return {
        "epoch": 100,
        "arch": "resnet50",
        "state_dict": {**other, **own, **head},
        "optimizer": {"state": {}},
    }


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "full checkpoint": full,
    "backbone under state_dict": lambda state: {"state_dict": state},
    "backbone under model": lambda state: {"model": state, "epoch": 100},
    "backbone alone": lambda state: state,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "cifar"), [("resnet50", False), ("resnet18", True), ("resnet18", False)])
def test_the_authors_files_give_their_features(layout: str, name: str, cifar: bool, tmp_path: Path) -> None:
    network = authors_network(name, cifar)
    path = tmp_path / "intl.pth.tar"
    torch.save(LAYOUTS[layout](network[1].state_dict()), path)
    loaded = load_backbone(path, data_cfg={"dataset": "cifar10" if cifar else "imagenet"})
    assert loaded.cfg.backbone.name == name
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(images), network(images), atol=1e-6, rtol=0)


def test_what_is_given_wins_over_the_shapes(tmp_path: Path) -> None:
    path = tmp_path / "r18.pth"
    torch.save(authors_network("resnet18", True)[1].state_dict(), path)
    for given, message in (({"stem": "imagenet"}, r"\[64, 3, 3, 3\] for"), ({"name": "resnet50"}, "missing")):
        with pytest.raises(UserError, match=message):
            load_backbone(path, backbone_cfg=given, data_cfg={"dataset": "cifar10"})
    loaded = load_backbone(
        path, backbone_cfg={"stem_stride": 2, "name": None}, data_cfg={"dataset": "custom"}
    )
    assert loaded.backbone.conv1.stride == (2, 2)


def test_what_shapes_cannot_say_is_asked_for(tmp_path: Path) -> None:
    state = authors_network("resnet18", False)[1].state_dict()
    path = tmp_path / "a.pth"
    torch.save(full({"layer9.weight": torch.zeros(3)}), path)
    with pytest.raises(
        UserError, match=r"^backbone\.name: found none, .* holds no config or shapes"
    ) as error:
        load_backbone(path, data_cfg={"dataset": "imagenet"})
    assert "\n" not in str(error.value)
    torch.save(state, path)
    with pytest.raises(UserError, match=r"^data\.dataset: found none") as error:
        load_backbone(path)
    assert "\n" not in str(error.value)


def test_a_file_with_momentum_weights_alone_is_not_taken_for_a_backbone(tmp_path: Path) -> None:
    state = authors_network("resnet18", False)[1].state_dict()
    path = tmp_path / "a.pth"
    torch.save(
        {"state_dict": {f"module.momentum_backbone.{key}": value for key, value in state.items()}}, path
    )
    with pytest.raises(UserError, match="found none"):
        load_backbone(path, data_cfg={"dataset": "imagenet"})
    with pytest.raises(UserError, match="120 missing"):
        load_backbone(path, backbone_cfg={"name": "resnet18"}, data_cfg={"dataset": "imagenet"})
