"""3x3 convolutions of small feature maps as matrix products, for processors that compute in bf16.

oneDNN's bf16 kernels take several times the time of the same products as one matrix product when a map has
many channels and few pixels, as the last stages of a ResNet do on small images: benchmarks/convolution.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

LARGEST_MAP = 9  # px; above it copying the patches costs more than oneDNN does
FEWEST_CHANNELS = 128


def _patches(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """[n, c, h, w] -> [n, h_out, w_out, kernel * kernel * c], channels innermost."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3)


class _Product(torch.autograd.Function):
    """Convolution in bf16, without bias, as patches times weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        small, x = weight.bfloat16(), x.bfloat16()
        ctx.save_for_backward(x, small)
        ctx.stride, ctx.padding, ctx.dtype = stride, padding, weight.dtype
        columns = small.permute(2, 3, 1, 0).flatten(0, 2)
        return (_patches(x, weight.shape[2], stride, padding) @ columns).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        outputs, inputs, kernel, _ = weight.shape
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0] and ctx.stride == 1:
            # a convolution of the gradient with the turned weights
            columns = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
            grad_x = (_patches(grad, kernel, 1, kernel - 1 - ctx.padding) @ columns).permute(0, 3, 1, 2)
        elif ctx.needs_input_grad[0]:
            grad_x = conv2d_input(x.shape, weight, grad, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            patches = _patches(x, kernel, ctx.stride, ctx.padding).flatten(0, 2)
            product = grad.permute(0, 2, 3, 1).flatten(0, 2).T @ patches
            grad_weight = product.view(outputs, kernel, kernel, inputs).permute(0, 3, 1, 2).to(ctx.dtype)
        return grad_x, grad_weight, None, None


class ProductConv2d(nn.Conv2d):
    """``nn.Conv2d`` that goes through a matrix product where that is faster: small maps in bf16 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if (
            input.device.type == "cpu"
            and input.shape[-1] <= LARGEST_MAP
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        ):
            return _Product.apply(input, self.weight, self.stride[0], int(self.padding[0]))
        return super().forward(input)


def install_products(network: nn.Module) -> None:
    """Let the network's wide 3x3 convolutions take the faster way; weights and their names stay.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(128, 8, 3, bias=False), nn.Conv2d(3, 8, 3))
        >>> install_products(network)
        >>> [type(layer).__name__ for layer in network]
        ['ProductConv2d', 'Conv2d']
    """
    for layer in network.modules():
        if (
            type(layer) is nn.Conv2d
            and layer.kernel_size == (3, 3)
            and layer.in_channels >= FEWEST_CHANNELS
            and layer.bias is None
            and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
            and layer.stride[0] == layer.stride[1]
            and layer.padding in ((0, 0), (1, 1), (2, 2))
        ):
            layer.__class__ = ProductConv2d
