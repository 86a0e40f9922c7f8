"""Convolutions of small feature maps as matrix products, for processors that compute in bf16.

oneDNN's bf16 kernels take several times the time of the same products as one matrix product when a map has
many channels and few pixels, as the last stages of a ResNet do on small images: benchmarks/convolution.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEWEST_CHANNELS = 128
# px of the output; above it copying the patches costs more than oneDNN does
LARGEST_MAP, LARGEST_MAP_OF_256 = 7, 9


def _patches(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """[n, c, h, w] -> [n * h_out * w_out, kernel * kernel * c], channels innermost."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * x.shape[1])


def _output_side(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


class _Product(torch.autograd.Function):
    """Convolution in bf16, without bias, as patches times weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        small, x = weight.bfloat16(), x.bfloat16()
        ctx.save_for_backward(x, small)
        ctx.stride, ctx.padding, ctx.dtype = stride, padding, weight.dtype
        kernel, (height, width) = weight.shape[2], x.shape[2:]
        sides = (_output_side(side, kernel, stride, padding) for side in (height, width))
        product = _patches(x, kernel, stride, padding) @ small.permute(0, 2, 3, 1).flatten(1).T
        return product.view(len(x), *sides, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        outputs, inputs, kernel, _ = weight.shape
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = (_turned if ctx.stride == 1 else _folded)(grad, weight, x, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            product = grad.permute(0, 2, 3, 1).flatten(0, 2).T @ _patches(x, kernel, ctx.stride, ctx.padding)
            grad_weight = product.view(outputs, kernel, kernel, inputs).permute(0, 3, 1, 2).to(ctx.dtype)
        return grad_x, grad_weight, None, None


def _turned(grad: Tensor, weight: Tensor, x: Tensor, stride: int, padding: int) -> Tensor:
    """Gradient of the input at stride 1: a convolution of the gradient with the turned weights."""
    columns = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
    product = _patches(grad, weight.shape[2], 1, weight.shape[2] - 1 - padding) @ columns
    return product.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


def _folded(grad: Tensor, weight: Tensor, x: Tensor, stride: int, padding: int) -> Tensor:
    """Gradient of the input at any stride: every patch's, added up where patches overlap, in fp32."""
    (n, _, height, width), kernel = grad.shape, weight.shape[2]
    rows = grad.permute(0, 2, 3, 1).flatten(0, 2) @ weight.permute(0, 2, 3, 1).flatten(1)
    patches = rows.view(n, height, width, kernel, kernel, -1)
    high, wide = (side + 2 * padding for side in x.shape[2:])
    padded = patches.new_zeros(n, high, wide, x.shape[1], dtype=torch.float32)
    for i in range(kernel):
        for j in range(kernel):
            ends = i + (height - 1) * stride + 1, j + (width - 1) * stride + 1
            padded[:, i : ends[0] : stride, j : ends[1] : stride] += patches[:, :, :, i, j]
    inner = padded[:, padding : high - padding, padding : wide - padding]
    return inner.to(grad.dtype).permute(0, 3, 1, 2)


class ProductConv2d(nn.Conv2d):
    """``nn.Conv2d`` that goes through a matrix product where that is faster: small maps in bf16 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if (
            input.device.type == "cpu"
            and _output_side(input.shape[-1], kernel, stride, padding)
            <= (LARGEST_MAP if self.in_channels < 256 else LARGEST_MAP_OF_256)
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        ):
            return _Product.apply(input, self.weight, stride, padding)
        return super().forward(input)


def install_products(network: nn.Module) -> None:
    """Let wide 3x3 and strided 1x1 convolutions take the faster way; weights and their names stay.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(128, 8, 3, bias=False), nn.Conv2d(3, 8, 3))
        >>> install_products(network)
        >>> [type(layer).__name__ for layer in network]
        ['ProductConv2d', 'Conv2d']
    """
    for layer in network.modules():
        if (
            type(layer) is nn.Conv2d
            and (layer.kernel_size == (3, 3) or (layer.kernel_size == (1, 1) and layer.stride == (2, 2)))
            and layer.in_channels >= FEWEST_CHANNELS
            and layer.bias is None
            and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
            and layer.stride[0] == layer.stride[1]
            and layer.padding in [(side, side) for side in range(layer.kernel_size[0])]
        ):
            layer.__class__ = ProductConv2d
