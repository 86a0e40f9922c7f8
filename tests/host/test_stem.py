"""Claims: small images get the 3x3 stem in every ResNet and in both networks of momentum methods; it can be
switched and strided; nothing else is touched; momentum weights stay equal to the online ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from solo_intl import host
from solo_intl.config import pretrain_settings
from solo_intl.errors import UserError
from solo_intl.host.stem import install_stem, stem_kind, stem_stride


@pytest.mark.parametrize(
    ("backbone", "dataset", "size", "expected"),
    [
        ({}, "digits", 64, "cifar"),
        ({}, "custom", 65, "imagenet"),
        ({}, "cifar10", None, "cifar"),
        ({}, "imagenet", None, "imagenet"),
        ({"stem": "cifar"}, "imagenet", 224, "cifar"),
        ({"stem": "imagenet"}, "cifar10", 32, "imagenet"),
    ],
)
def test_which_stem(backbone: dict, dataset: str, size: int | None, expected: str):
    assert stem_kind(backbone, dataset, size) == expected


def test_stem_geometry():
    for stride, side in ((1, 34), (2, 16)):
        network = resnet18()
        assert install_stem(network, "cifar", stride)
        assert not install_stem(network, "cifar", stride), "a second time changes nothing"
        assert network.conv1(torch.zeros(1, 3, 32, 32)).shape[-1] == side
        assert isinstance(network.maxpool, nn.Identity)
        assert install_stem(network, "imagenet")
        assert network.conv1.kernel_size == (7, 7)
        assert isinstance(network.maxpool, nn.MaxPool2d)


def test_a_network_without_the_layers_is_left_alone():
    assert not install_stem(nn.Linear(2, 2), "cifar")


@pytest.mark.parametrize("key", ["stem", "stem_stride"])
def test_unknown_values_are_refused(key: str):
    with pytest.raises(UserError, match=f"backbone.{key}: found"):
        stem_kind({key: 7}, "digits", 32)
        stem_stride({key: 7})


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
@pytest.mark.parametrize("stride", [1, 2])
def test_momentum_network_gets_the_same_stem_and_weights(make_cfg, dataset: str, stride: int):
    cfg = make_cfg(
        method="byol",
        backbone__stem_stride=stride,
        data__dataset=dataset,
        momentum={"base_tau": 0.99, "final_tau": 1.0},
        method_kwargs={"proj_hidden_dim": 16, "proj_output_dim": 16, "pred_hidden_dim": 16},
    )
    cfg = pretrain_settings(cfg)
    cfg.data.num_classes = 10
    model = host.METHODS["byol"](cfg)
    assert model.backbone.conv1.stride == model.momentum_backbone.conv1.stride == (stride, stride)
    assert model.backbone.conv1.kernel_size == (3, 3)
    assert isinstance(model.momentum_backbone.maxpool, nn.Identity)
    torch.testing.assert_close(model.backbone.conv1.weight, model.momentum_backbone.conv1.weight)
    assert not model.momentum_backbone.conv1.weight.requires_grad
