"""Claims: what is exported loads strictly into the real torchvision and timm networks, by the very Python
that is printed, and gives load_backbone's features to 1e-6, with the ImageNet and both small-image stems,
online and momentum; safetensors carries the config and is read back; the detectron2 pickle equals, key by key
and value by value, a ResNet-50 table written here from the module tree (detectron2 itself cannot be installed
here, so that it reads the file is not shown); networks that a library lacks are refused in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn

from solo_intl.errors import UserError
from solo_intl.evaluation import LoadedBackbone, export_backbone, load_backbone
from solo_intl.host import build_backbone

IMAGENET: dict[str, Any] = {"stem": "imagenet"}
CIFAR = {"stem": "cifar", "stem_stride": 1}
STRIDED = {"stem": "cifar", "stem_stride": 2}


def network(cfg: dict[str, Any]) -> nn.Module:
    """A backbone whose every weight and running statistic is its own."""
    backbone, _ = build_backbone(OmegaConf.create(cfg))
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.1, 0.1),
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data = low + (high - low) * torch.rand(tensor.shape, generator=generator)
    return backbone.eval()


def checkpoint(folder: Path, size: int = 64, **backbone: Any) -> Path:
    cfg = {
        "method": "intl",
        "backbone": {"kwargs": {}, **backbone},
        "data": {"dataset": "custom"},
        "augmentations": [{"crop_size": size}],
    }
    online = network(cfg).state_dict()
    state = {f"momentum_backbone.{key}": value / 2 for key, value in online.items()}
    state.update({f"backbone.{key}": value for key, value in online.items()})
    path = folder / "last.ckpt"
    torch.save({"state_dict": state, "solo_intl": {"cfg": cfg}}, path)
    return path


def printed_model(usage: str) -> nn.Module:
    names: dict[str, Any] = {}  # nothing at hand: what is printed brings its own imports
    exec(usage, names)
    return names["model"].eval()


def same_features(a: nn.Module, b: nn.Module, size: int = 64) -> None:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = a(images)
        assert expected.std() > 1e-3
        torch.testing.assert_close(b(images), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18", IMAGENET),
        ("resnet18", CIFAR),
        ("resnet18", STRIDED),
        ("resnet50", IMAGENET),
        ("resnet50", CIFAR),
    ],
)
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_librarys_own_network_gives_the_same_features(
    library: str, name: str, stem: dict[str, Any], tmp_path: Path
) -> None:
    size = 64 if stem is IMAGENET else 32
    loaded = load_backbone(checkpoint(tmp_path, size, name=name, **stem))
    export = export_backbone(loaded, library)
    file = tmp_path / "out.pth"
    export.write(file)
    model = printed_model(export.usage(file))
    own = getattr(torchvision.models, name)() if library == "torchvision" else timm.create_model(name)
    assert type(model) is type(own)
    same_features(loaded.backbone, model, size)
    assert ("conv1 = torch.nn.Conv2d(3, 64, kernel_size=3" in export.usage(file)) == (stem is not IMAGENET)
    assert ("no max-pool" in (export.stem or "")) == (stem is not IMAGENET)


def test_the_file_is_the_torchvision_state_dict_without_its_classifier(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, name="resnet18", **IMAGENET))
    export_backbone(loaded, "torchvision").write(tmp_path / "out.pth")
    weights = torch.load(tmp_path / "out.pth", weights_only=True)
    result = torchvision.models.resnet18().load_state_dict(weights, strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"]
    assert result.unexpected_keys == []
    assert all(value.is_contiguous() for value in weights.values())


def test_timm_reads_the_file_itself(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, name="resnet50", **IMAGENET))
    for layout, file in (("timm", tmp_path / "a.pth"), ("safetensors", tmp_path / "a.safetensors")):
        export_backbone(loaded, layout).write(file)
        model = timm.create_model("resnet50", num_classes=0, checkpoint_path=str(file))
        same_features(loaded.backbone, model.eval())


def test_the_momentum_network_is_another(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, name="resnet18", **IMAGENET)
    online, momentum = load_backbone(path), load_backbone(path, network="momentum")
    export_backbone(momentum, "torchvision").write(tmp_path / "out.pth")
    model = printed_model(export_backbone(momentum, "torchvision").usage(tmp_path / "out.pth"))
    same_features(momentum.backbone, model)
    with pytest.raises(AssertionError):
        same_features(online.backbone, model)


def test_safetensors_carries_the_config_and_is_read_back(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, 32, name="resnet18", **STRIDED), network="momentum")
    loaded.backbone.to(memory_format=torch.channels_last)  # safetensors itself refuses such strides
    file = tmp_path / "out.safetensors"
    export_backbone(loaded, "safetensors").write(file)
    with safetensors.safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["network"] == "momentum"
    assert metadata["backbone"] == "resnet18"
    assert metadata["torch"] == torch.__version__
    assert metadata["solo_intl"]
    assert json.loads(metadata["config"])["backbone"]["stem_stride"] == 2
    weights = safetensors.torch.load_file(file)
    own = loaded.backbone.state_dict()
    assert set(weights) == set(own)
    assert all(torch.equal(weights[key], own[key]) for key in own)
    usage = export_backbone(loaded, "safetensors").usage(file)
    assert "weights = safetensors.torch.load_file" in usage
    same_features(loaded.backbone, printed_model(usage), 32)
    again = load_backbone(file)  # no argument: stride and image size come from the metadata
    assert again.cfg.image_size == 32
    same_features(loaded.backbone, again.backbone, 32)


def detectron2_resnet50(network: Any) -> dict[str, torch.Tensor]:
    """detectron2's names for a ResNet-50: BasicStem, BottleneckBlock of its modeling/backbone/resnet.py."""
    table: dict[str, torch.Tensor] = {}

    def unit(name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        table[f"{name}.weight"] = conv.weight
        table[f"{name}.norm.weight"] = norm.weight
        table[f"{name}.norm.bias"] = norm.bias
        table[f"{name}.norm.running_mean"] = norm.running_mean
        table[f"{name}.norm.running_var"] = norm.running_var

    unit("stem.conv1", network.conv1, network.bn1)
    stages = {"res2": network.layer1, "res3": network.layer2, "res4": network.layer3, "res5": network.layer4}
    for stage, blocks in stages.items():
        for i, block in enumerate(blocks):
            unit(f"{stage}.{i}.conv1", block.conv1, block.bn1)
            unit(f"{stage}.{i}.conv2", block.conv2, block.bn2)
            unit(f"{stage}.{i}.conv3", block.conv3, block.bn3)
            if i == 0:
                unit(f"{stage}.{i}.shortcut", block.downsample[0], block.downsample[1])
    return table


def test_detectron2_pickle_key_by_key_and_value_by_value(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, name="resnet50", **IMAGENET))
    file = tmp_path / "r50.pkl"
    export = export_backbone(loaded, "detectron2")
    export.write(file)
    with file.open("rb") as opened:
        content = pickle.load(opened, encoding="latin1")  # as detectron2's checkpointer does
    assert set(content) == {"model", "__author__", "matching_heuristics"}
    assert content["matching_heuristics"] is True
    assert content["__author__"] != "Caffe2", "which would make detectron2 rename everything again"
    expected = detectron2_resnet50(loaded.backbone)
    assert len(expected) == 53 * 5  # 1 + 16 x 3 + 4 convolutions, each with its BatchNorm
    assert set(content["model"]) == set(expected)
    for key, tensor in expected.items():
        found = content["model"][key]
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, tensor.numpy(), err_msg=key)
    assert "STRIDE_IN_1X1 False" in export.usage(file)
    assert "INPUT.FORMAT RGB" in export.usage(file)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_vit_is_timms(size: str, tmp_path: Path) -> None:
    kwargs = {"img_size": 32, "patch_size": 8}
    loaded = load_backbone(checkpoint(tmp_path, 32, name=f"vit_{size}", kwargs=kwargs))
    export = export_backbone(loaded, "timm")
    export.write(tmp_path / "vit.pth")
    same_features(loaded.backbone, printed_model(export.usage(tmp_path / "vit.pth")), 32)


def one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_what_a_library_does_not_have(tmp_path: Path) -> None:
    small = load_backbone(checkpoint(tmp_path, 32, name="resnet50", **CIFAR))
    vit = load_backbone(checkpoint(tmp_path, 32, name="vit_tiny", kwargs={"img_size": 32}))
    swin = load_backbone(
        checkpoint(tmp_path, 64, name="swin_tiny", kwargs={"img_size": 64, "window_size": 4})
    )
    one_line(
        lambda: export_backbone(small, "detectron2"), "found 'detectron2' for 3x3 convolution .*7x7 stem"
    )
    dilated = {"replace_stride_with_dilation": [False, False, True]}
    other = load_backbone(checkpoint(tmp_path, name="resnet50", kwargs=dilated, **IMAGENET))
    one_line(
        lambda: export_backbone(other, "detectron2"), r"backbone\.kwargs={'replace_stride.* a plain ResNet"
    )
    one_line(lambda: export_backbone(vit, "detectron2"), "found 'detectron2' for backbone.name=vit_tiny")
    one_line(lambda: export_backbone(vit, "torchvision"), "found 'torchvision' for backbone.name=vit_tiny")
    one_line(
        lambda: export_backbone(swin, "timm"), "found 'timm' for backbone.name=swin_tiny, accepted: resnet18"
    )
    one_line(lambda: export_backbone(small, "tim"), "to: found 'tim', accepted: .*nearest: timm")


def test_a_network_of_the_same_name_but_another_kind(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, 32, name="vit_tiny", kwargs={"img_size": 32}))

    class Scaled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return self.inner.state_dict(*args, **kwargs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(x)

    other = LoadedBackbone(Scaled(loaded.backbone), loaded.features_dim, loaded.cfg, loaded.path)
    one_line(lambda: export_backbone(other, "timm"), r"timm's vit_tiny is another network .*features differ")
    loaded.cfg.backbone.kwargs = {"img_size": 32, "patch_size": 8}
    one_line(lambda: export_backbone(loaded, "timm"), r"another network than .*last\.ckpt holds \(Error")


def test_a_name_the_readers_do_not_know_leaves_nothing(tmp_path: Path) -> None:
    loaded = load_backbone(checkpoint(tmp_path, name="resnet18", **IMAGENET))
    out = tmp_path / "out"
    for layout, ending in (("detectron2", r"\.pkl"), ("safetensors", r"\.safetensors")):
        export = export_backbone(loaded, layout)
        one_line(lambda e=export: e.write(out / "r18.pth"), f"output: found r18.pth, accepted: .*{ending}")
    assert not out.exists()
    out.write_text("a file")
    one_line(lambda: export_backbone(loaded, "timm").write(out / "r18.pth"), "out: can't be written")
