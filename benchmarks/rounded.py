"""Embeddings rounded as bf16 and TF32 round them, on any machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Rounded(TorchDispatchMode):
    """Rounds the factors of the products that make the Gram matrices to so many bits behind the point, and
    counts these products."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.drop, self.count = 23 - bits, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name == "aten::addmm_" and args[2].shape[1] > 1:
            self.count += 1
            args = (args[0], *map(self.rounded, args[1:]))
        return func(*args, **(kwargs or {}))

    def rounded(self, x: Tensor) -> Tensor:
        whole = x.contiguous().view(torch.int32)
        half = (1 << (self.drop - 1)) - 1 + ((whole >> self.drop) & 1)  # to even
        return ((whole + half) >> self.drop << self.drop).view(torch.float32)
