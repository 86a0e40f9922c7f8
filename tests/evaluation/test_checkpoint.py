"""Claims: every key style gives back the same features; weights that don't fit exactly are refused in one
line; only a leading prefix is ever removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision.models import resnet18

from solo_intl.errors import UserError
from solo_intl.evaluation.checkpoint import backbone_state, load_backbone
from solo_intl.evaluation.reading import Checkpoint, read_checkpoint

RESNET = {"name": "resnet18"}
FOLDER = {"dataset": "custom"}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make_resnet(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = resnet18()
        network.fc = nn.Identity()
        network.train()(torch.rand(4, 3, 64, 64))  # running statistics worth keeping
    return network.eval()


@pytest.fixture(scope="module")
def online() -> nn.Module:
    return make_resnet(1)


@pytest.fixture(scope="module")
def momentum() -> nn.Module:
    return make_resnet(2)


def prefixed(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in network.state_dict().items()}


def head(prefix: str = "") -> dict[str, Tensor]:
    names = ("projector.0.weight", "classifier.weight", "momentum_projector.0.weight")
    return {prefix + name: torch.zeros(2, 2) for name in names}


def save(content: Any, folder: Path) -> Path:
    path = folder / "model.ckpt"
    torch.save(content, path)
    return path


def refusal(call: Callable[[], object], message: str) -> str:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    return str(error.value)


def same_features(loaded: nn.Module, network: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), network(IMAGES), atol=1e-6, rtol=0)


STYLES: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "solo-learn HEAD": lambda a, b: {"state_dict": {**prefixed(a, "backbone."), **head()}},
    "solo-learn 1.0.2": lambda a, b: {"state_dict": {**prefixed(a, "encoder."), **head()}},
    "HEAD, momentum first": lambda a, b: {
        "state_dict": {**prefixed(b, "momentum_backbone."), **prefixed(a, "backbone."), **head()}
    },
    "1.0.2, momentum first": lambda a, b: {
        "state_dict": {**prefixed(b, "momentum_encoder."), **prefixed(a, "encoder."), **head()}
    },
    "authors": lambda a, b: {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": {
            **prefixed(b, "module.momentum_backbone."),
            **prefixed(a, "module.backbone."),
            **head("module."),
        },
    },
    "bare under state_dict": lambda a, b: {"state_dict": a.state_dict()},
    "bare file": lambda a, b: a.state_dict(),
    "bare file from DDP": lambda a, b: prefixed(a, "module."),
    "bare file from torch.compile": lambda a, b: prefixed(a, "_orig_mod."),
    "compiled backbone": lambda a, b: {"state_dict": {**prefixed(a, "backbone._orig_mod."), **head()}},
    "compiled, then DDP": lambda a, b: {
        "state_dict": {**prefixed(a, "module._orig_mod.encoder."), **head("module._orig_mod.")}
    },
    "DDP, then compiled": lambda a, b: {
        "state_dict": {**prefixed(a, "_orig_mod.module.backbone."), **head("_orig_mod.module.")}
    },
}


@pytest.mark.parametrize("style", STYLES)
def test_every_key_style_gives_the_same_features(
    style: str, online: nn.Module, momentum: nn.Module, tmp_path: Path
) -> None:
    path = save(STYLES[style](online, momentum), tmp_path)
    loaded = load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER)
    same_features(loaded.backbone, online)
    assert loaded.features_dim == 512
    assert loaded.path == path


@pytest.mark.parametrize("style", ["HEAD, momentum first", "1.0.2, momentum first", "authors"])
def test_the_momentum_network_on_request(
    style: str, online: nn.Module, momentum: nn.Module, tmp_path: Path
) -> None:
    path = save(STYLES[style](online, momentum), tmp_path)
    loaded = load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER, network="momentum")
    same_features(loaded.backbone, momentum)


@pytest.mark.parametrize("style", ["solo-learn HEAD", "solo-learn 1.0.2", "bare file"])
def test_no_momentum_network_is_said(
    style: str, online: nn.Module, momentum: nn.Module, tmp_path: Path
) -> None:
    path = save(STYLES[style](online, momentum), tmp_path)
    refusal(
        lambda: load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER, network="momentum"),
        "found no momentum network",
    )
    refusal(
        lambda: backbone_state(read_checkpoint(path), "teacher"),
        "network: found 'teacher', accepted: online, mom",
    )


def test_frozen_and_in_evaluation_mode(online: nn.Module, tmp_path: Path) -> None:
    path = save(online.state_dict(), tmp_path)
    backbone = load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER).backbone
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def small_stem() -> nn.Module:
    network = make_resnet(3)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 2, bias=False)
    network.maxpool = nn.Identity()
    return network.eval()


def test_the_config_in_the_file_decides_the_network(tmp_path: Path) -> None:
    network = small_stem()
    cfg = {
        "method": "intl",
        "backbone": {"name": "resnet18", "kwargs": {}, "stem": "cifar", "stem_stride": 1},
        "data": {"dataset": "custom", "num_classes": 3},
        "augmentations": [{"crop_size": 96}],
    }
    path = save({"state_dict": prefixed(network, "backbone."), "solo_intl": {"cfg": cfg}}, tmp_path)
    loaded = load_backbone(path, backbone_cfg={"name": "resnet50"}, data_cfg={"dataset": "imagenet"})
    same_features(loaded.backbone, network)
    assert loaded.cfg.data.num_classes == 3
    assert loaded.cfg.image_size == 96


def test_the_first_convolution_decides_the_stem_when_the_file_does_not(tmp_path: Path) -> None:
    network = small_stem()
    path = save({"state_dict": prefixed(network, "encoder.")}, tmp_path)
    for backbone_cfg, data_cfg, size in (
        (RESNET, {"dataset": "cifar10"}, 32),
        (OmegaConf.create(RESNET), OmegaConf.create({"dataset": "custom", "image_size": 48}), 48),
        ({**RESNET, "stem": "cifar"}, FOLDER, 224),
        ({**RESNET, "stem": "auto"}, FOLDER, 224),
    ):
        loaded = load_backbone(path, backbone_cfg=backbone_cfg, data_cfg=data_cfg)
        same_features(loaded.backbone, network)
        assert loaded.cfg.image_size == size
    message = refusal(
        lambda: load_backbone(path, backbone_cfg={**RESNET, "stem": "imagenet"}, data_cfg=FOLDER),
        r"1 of another shape \(conv1.weight \[64, 3, 3, 3\] for \[64, 3, 7, 7\]\)",
    )
    assert "backbone.stem=imagenet" in message


@pytest.mark.parametrize("extra", [{}, {"solo_intl": {"host": {}}}, {"solo_intl": "1.0"}])
def test_without_a_config_the_network_must_be_named(
    extra: dict[str, Any], online: nn.Module, tmp_path: Path
) -> None:
    path = save({"state_dict": prefixed(online, "net."), **extra}, tmp_path)
    refusal(lambda: load_backbone(path), r"^backbone\.name: found none, and .*model\.ckpt holds no config")
    refusal(lambda: load_backbone(path, backbone_cfg=RESNET), r"^data\.dataset: found none")
    refusal(
        lambda: load_backbone(path, backbone_cfg={"name": "resnet1"}, data_cfg=FOLDER),
        r"backbone\.name: found 'resnet1'",
    )
    refusal(  # before the network is built, which the wrong size would make fail in other words
        lambda: load_backbone(path, backbone_cfg=RESNET, data_cfg={"dataset": "cifar"}),
        r"^data\.dataset: found 'cifar', accepted: .* \(nearest: cifar10",
    )


def test_a_checkpoint_with_no_matching_key_is_refused(online: nn.Module, tmp_path: Path) -> None:
    path = save({"state_dict": {**prefixed(online, "net."), **head()}}, tmp_path)
    message = refusal(
        lambda: load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER),
        r"120 missing \(conv1\.weight, bn1\.weight",
    )
    assert "123 unexpected (net.conv1.weight" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("backbone.layer4.1.conv2.weight"),
            r"1 missing \(layer4\.1\.conv2\.weight\)",
        ),
        (lambda state: state.pop("backbone.bn1.running_var"), r"1 missing \(bn1\.running_var\)"),
        (lambda state: state.update({"backbone.fc.bias": torch.zeros(9)}), r"1 unexpected \(fc\.bias\)"),
        (
            lambda state: state.update({"backbone.conv1.weight": torch.zeros(64, 1, 7, 7)}),
            r"conv1\.weight \[64, 1, 7, 7\] for \[64, 3, 7, 7\]",
        ),
    ],
)
def test_weights_must_fit_exactly(
    change: Callable[[dict[str, Tensor]], Any], message: str, online: nn.Module, tmp_path: Path
) -> None:
    state = prefixed(online, "backbone.")
    change(state)
    path = save({"state_dict": state}, tmp_path)
    refusal(lambda: load_backbone(path, backbone_cfg=RESNET, data_cfg=FOLDER), message)


def test_only_the_leading_prefix_is_removed() -> None:
    zero = torch.zeros(1)
    state = {
        "encoder.blocks.0.encoder.weight": zero,
        "encoder.backbone.bias": zero,
        "momentum_encoder.blocks.0.encoder.weight": zero,
        "my_encoder.weight": zero,
        "encoder_norm.weight": zero,
        "queue": zero,
    }
    checkpoint = Checkpoint(state, None, Path("vit.ckpt"))
    assert set(backbone_state(checkpoint)) == {"blocks.0.encoder.weight", "backbone.bias"}
    assert set(backbone_state(checkpoint, "momentum")) == {"blocks.0.encoder.weight"}
    vit = Checkpoint({"blocks.0.encoder.weight": zero, "cls_token": zero}, None, Path("vit.pth"))
    assert set(backbone_state(vit)) == {"blocks.0.encoder.weight", "cls_token"}


def test_a_vit_round_trip(tmp_path: Path) -> None:
    from solo_intl.host import build_backbone

    backbone_cfg = {"name": "vit_tiny", "kwargs": {"img_size": 32, "patch_size": 16}}
    cfg = OmegaConf.create(
        {"method": "intl", "backbone": backbone_cfg, "data": {"dataset": "custom"}, "image_size": 32}
    )
    network, width = build_backbone(cfg)
    path = save({"state_dict": {**prefixed(network, "encoder."), **head()}}, tmp_path)
    loaded = load_backbone(path, backbone_cfg=backbone_cfg, data_cfg={"dataset": "custom", "image_size": 32})
    assert loaded.features_dim == width
    small = IMAGES[:, :, :32, :32]
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone(small), network.eval()(small), atol=1e-6, rtol=0)
