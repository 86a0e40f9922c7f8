"""Claims: under bf16 autocast on a CPU a wide 3x3 or strided 1x1 convolution to a small map is a matrix
product, with the output and gradients of the fp32 convolution to bf16's rounding, no worse than torch's own
bf16 convolution; elsewhere (fp32, large maps) nothing changes at all; every backbone that the host builds
has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from solo_intl.host import METHODS
from solo_intl.host.convolution import LARGEST_MAP, LARGEST_MAP_OF_256, ProductConv2d, install_products


def results(layer: nn.Conv2d, x: torch.Tensor, bf16: bool) -> list[torch.Tensor]:
    """Output, gradient of the input, gradient of the weight."""
    x = x.clone().requires_grad_()
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = layer(x)
    out.float().square().sum().backward()
    return [out.detach().float(), x.grad, layer.weight.grad]


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (3, 2, 0), (3, 2, 2), (3, 1, 0), (3, 1, 2), (1, 2, 0)],
)
@pytest.mark.parametrize("side", [3, 4, 5])
def test_product_equals_the_convolution(side: int, kernel: int, stride: int, padding: int):
    torch.manual_seed(side)
    stock = nn.Conv2d(128, 96, kernel, stride, padding, bias=False).to(memory_format=torch.channels_last)
    ours = nn.Conv2d(128, 96, kernel, stride, padding, bias=False).to(memory_format=torch.channels_last)
    ours.load_state_dict(stock.state_dict())
    install_products(ours)
    x = torch.randn(8, 128, side, side).to(memory_format=torch.channels_last)
    exact = results(stock, x, bf16=False)
    for found, theirs, expected in zip(results(ours, x, True), results(stock, x, True), exact, strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert error(found, expected) < max(1.2 * error(theirs, expected), 1e-3)
        assert error(found, expected) < 1e-2


def test_fp32_and_large_maps_are_left_to_torch():
    torch.manual_seed(0)
    for channels, limit in ((128, LARGEST_MAP), (256, LARGEST_MAP_OF_256)):
        stock = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        ours = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        ours.load_state_dict(stock.state_dict())
        install_products(ours)
        for side, bf16 in ((4, False), (limit + 1, True)):
            x = torch.randn(2, channels, side, side)
            for found, expected in zip(results(ours, x, bf16), results(stock, x, bf16), strict=True):
                assert torch.equal(found, expected)
        with torch.autocast("cpu", torch.bfloat16):
            out = ours(torch.randn(2, channels, limit, limit))
        assert type(out.grad_fn).__name__ == "_ProductBackward"


@pytest.mark.parametrize("method", ["intl", "byol"])
def test_every_network_of_a_method_has_it(method: str, make_cfg: Callable):
    from solo_intl.config import pretrain_settings

    cfg = make_cfg(method=method, data__num_classes=10)
    if method == "byol":
        cfg.method_kwargs = {"proj_hidden_dim": 8, "proj_output_dim": 8, "pred_hidden_dim": 8}
    model = METHODS[method](pretrain_settings(cfg))
    networks = [model.backbone, *([model.momentum_backbone] if method == "byol" else [])]
    for network in networks:
        wide = [layer for layer in network.modules() if isinstance(layer, ProductConv2d)]
        assert len(wide) == 13  # ResNet-18: 3 of layer2, 4 each and the shortcut of layer3 and layer4
