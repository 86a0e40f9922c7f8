"""Claims about the loss with bf16 in the three products that make the Gram matrices, and in no other:

1. loss and gradient hold 1e-3 of their size over training-like spectra at d = 2048;
2. torch's own setting is as it was afterwards, and float64 as ever;
3. with their factors rounded as bf16 and TF32 round them, on any machine, 1e-3 and 2e-4.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gram_cases import SPECTRA, Products, draw, from_gram, gradients, leaves

from solo_intl.losses import intl_loss_func

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from rounded import Rounded

TRAINING = ["flat", "power law", "condition 1e2", "condition 1e8", "rank 1 and a tenth"]


@pytest.mark.parametrize("name", TRAINING)
def test_bf16_gram_matrices(name: str) -> None:
    torch.manual_seed(0)
    views = leaves(SPECTRA[name](2048), torch.float32)
    exact, rough = (
        intl_loss_func(views, beta=0.1, precision=precision).loss for precision in ("fp32", "bf16")
    )
    assert rough.item() == pytest.approx(exact.item(), rel=1e-3)
    exact_gradient, gradient = gradients(exact, views), gradients(rough, views)
    assert (gradient - exact_gradient).norm() <= 1e-3 * exact_gradient.norm()
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not torch.equal(gradient, exact_gradient)
    wide = leaves(views)
    found = [intl_loss_func(wide, beta=0.1, precision=precision).loss for precision in ("fp32", "bf16")]
    assert torch.equal(*found)


def test_rounding_is_bf16s() -> None:
    x = torch.randn(1000) * torch.logspace(-20, 20, 1000)
    assert torch.equal(Rounded(7).rounded(x), x.bfloat16().float())


@pytest.mark.parametrize(("bits", "allowed"), [(7, 1e-3), (10, 2e-4)])  # bf16, TF32
@pytest.mark.parametrize("name", TRAINING)
def test_gram_matrices_of_rounded_embeddings(name: str, bits: int, allowed: float) -> None:
    torch.manual_seed(0)
    views = leaves(SPECTRA[name](2048), torch.float32)
    exact = from_gram(views, None, 4)[0]
    with Rounded(bits) as products:
        rough = from_gram(views, None, 4)[0]
    assert products.count >= 2  # one makes G_1 and C, one G_2, in blocks of columns
    assert rough.item() == pytest.approx(exact.item(), rel=1e-5)
    exact_gradient, gradient = gradients(exact, views), gradients(rough, views)
    assert 0 < (gradient - exact_gradient).norm() <= allowed * exact_gradient.norm()


def test_bf16_is_set_for_the_gram_matrices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    m, d = 16, 40000
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    views = leaves(draw(2, m, d), torch.float32)

    class During(Products):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if setting.fp32_precision != "bf16":
                return func(*args, **(kwargs or {}))
            return super().__torch_dispatch__(func, types, args, kwargs)

    with During(m) as products:
        intl_loss_func(views, precision="bf16").loss.backward()
    assert (products.long, products.short) == (3 * m * m * d, 0)
    assert setting.fp32_precision == before
