"""Claims: each wrong argument is a TypeError or ValueError that names it, what was found and what is
accepted; the functions and the modules agree on that; right arguments at the limits are accepted.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from solo_intl.losses import (
    INTLLoss,
    IterNorm,
    default_beta,
    intl_loss_func,
    iternorm,
    spectral_map,
    spectrum_rank,
    trace_loss,
    trace_loss_floor,
    whitened_size,
)


def zs(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(*shape) for shape in shapes]


Z = torch.randn(4, 6)
TENSOR_ERRORS = [
    ([[1.0, 2.0], [3.0, 4.0]], TypeError, r"must be a floating-point tensor \[m, d\]; found list"),
    (None, TypeError, r"must be a floating-point tensor .*; found NoneType"),
    (
        torch.ones(4, 6, dtype=torch.int64),
        TypeError,
        r"must be a floating-point tensor .*; found dtype torch\.int64",
    ),
    (torch.ones(4, 6, dtype=torch.complex64), TypeError, r"must be .*; found dtype torch\.complex64"),
    (torch.randn(6), ValueError, r"must have 2 dimensions \[m, d\]; found shape \(6,\)"),
    (torch.randn(2, 4, 6), ValueError, r"must have 2 dimensions .*; found shape \(2, 4, 6\)"),
    (torch.randn(1, 6), ValueError, r"must have m >= 2 and d >= 2; found shape \(1, 6\)"),
    (torch.randn(4, 1), ValueError, r"must have m >= 2 and d >= 2; found shape \(4, 1\)"),
    (torch.randn(0, 6), ValueError, r"must have m >= 2 and d >= 2; found shape \(0, 6\)"),
]
ITERATIONS_ERRORS = [
    (-1, ValueError, "iterations must be an int >= 0; found -1"),
    (1.5, TypeError, "iterations must be an int >= 0; found 1.5 of type float"),
    (4.0, TypeError, "iterations must be an int >= 0; found 4.0 of type float"),
    (True, TypeError, "iterations must be an int >= 0; found True of type bool"),
    (None, TypeError, "iterations must be an int >= 0; found None of type NoneType"),
]
AXIS_ERRORS = [
    (axis, f"axis must be one of 'channel', 'batch'; found {axis!r}") for axis in ("row", "", None, 1)
]
BETA_ERRORS = [
    (math.nan, ValueError, "beta must be None or a finite float; found nan"),
    (math.inf, ValueError, "beta must be None or a finite float; found inf"),
    ("0.1", TypeError, "beta must be None or a finite float; found '0.1' of type str"),
    (True, TypeError, "beta must be None or a finite float; found True of type bool"),
]


@pytest.mark.parametrize("bad, error, match", TENSOR_ERRORS)
def test_tensors(bad: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=rf"^z {match}"):
        iternorm(bad)
    with pytest.raises(error, match=rf"^z_hat {match}"):
        trace_loss(bad)
    with pytest.raises(error, match=rf"view 0 {match}"):
        intl_loss_func([bad, Z], beta=1.0)
    if bad is not None:
        with pytest.raises(error, match=rf"target {match}"):
            intl_loss_func([Z], bad, beta=1.0)
    with pytest.raises(error, match=rf"^z {match}"):
        IterNorm()(bad)
    with pytest.raises(error, match=rf"view 0 {match}"):
        INTLLoss(beta=1.0)([bad, Z])


@pytest.mark.parametrize("bad, error, match", ITERATIONS_ERRORS)
def test_iterations(bad: Any, error: type[Exception], match: str) -> None:
    for call in (
        lambda: iternorm(Z, iterations=bad),
        lambda: intl_loss_func([Z, Z], beta=1.0, iterations=bad),
        lambda: spectral_map(0.5, iterations=bad),
        lambda: trace_loss_floor(4, iterations=bad),
        lambda: IterNorm(iterations=bad),
        lambda: INTLLoss(iterations=bad),
    ):
        with pytest.raises(error, match=match):
            call()


@pytest.mark.parametrize("bad, match", AXIS_ERRORS)
def test_axis(bad: Any, match: str) -> None:
    for call in (
        lambda: iternorm(Z, axis=bad),
        lambda: trace_loss(Z, axis=bad),
        lambda: intl_loss_func([Z, Z], beta=1.0, axis=bad),
        lambda: whitened_size(4, 6, bad),
        lambda: spectrum_rank(4, 6, bad),
        lambda: IterNorm(axis=bad),
        lambda: INTLLoss(axis=bad),
    ):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize("bad, error, match", BETA_ERRORS)
def test_beta(bad: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        intl_loss_func([Z, Z], beta=bad)
    with pytest.raises(error, match=match):
        INTLLoss(beta=bad)


def test_precision() -> None:
    match = "precision must be one of 'fp32', 'bf16', 'tf32'; found 'fp16'"
    with pytest.raises(ValueError, match=match):
        intl_loss_func([Z, Z], beta=1.0, precision="fp16")
    with pytest.raises(ValueError, match=match):
        INTLLoss(precision="fp16")
    with pytest.raises(ValueError, match="precision 'tf32' needs cuda tensors; found them on cpu"):
        INTLLoss(beta=1.0, precision="tf32")([Z, Z])
    assert repr(INTLLoss(precision="bf16")).endswith("gather_distributed=False, precision='bf16')")
    wide = [torch.randn(32, 64) for _ in range(2)]
    expected = intl_loss_func(wide, precision="bf16")
    assert torch.equal(INTLLoss(precision="bf16")(wide).loss, expected.loss)


def test_beta_must_be_given_for_small_sizes() -> None:
    views = zs((8, 32), (8, 32))
    with pytest.raises(ValueError, match=r"beta must be given.*whitened size > 8; found 8"):
        intl_loss_func(views)
    with pytest.raises(ValueError, match=r"beta must be given.*found 4"):
        INTLLoss(axis="batch")(zs((32, 4), (32, 4)))
    intl_loss_func(views, axis="batch")
    intl_loss_func(views, beta=-0.5)
    intl_loss_func(zs((2, 2), (2, 2)), beta=0)


def test_views() -> None:
    for views, found in ((torch.randn(2, 4, 6), "Tensor"), (iter([Z, Z]), "list_iterator"), ("ab", "str")):
        with pytest.raises(
            TypeError, match=rf"views must be a list or tuple of tensors \[m, d\]; found {found}"
        ):
            intl_loss_func(views, beta=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at least 2 tensor\(s\) without a target; found 0"):
        intl_loss_func([], beta=1.0)
    with pytest.raises(ValueError, match=r"at least 2 tensor\(s\) without a target; found 1"):
        intl_loss_func([Z], beta=1.0)
    with pytest.raises(ValueError, match=r"at least 1 tensor\(s\) with a target; found 0"):
        intl_loss_func([], Z, beta=1.0)
    with pytest.raises(ValueError, match=r"view 2 must have view 0's shape \(4, 6\); found \(5, 6\)"):
        intl_loss_func(zs((4, 6), (4, 6), (5, 6)), beta=1.0)
    with pytest.raises(ValueError, match=r"target must have view 0's shape \(4, 6\); found \(4, 7\)"):
        intl_loss_func([Z], torch.randn(4, 7), beta=1.0)
    with pytest.raises(ValueError, match="view 1 must have view 0's device cpu; found meta"):
        intl_loss_func([Z, Z.to("meta")], beta=1.0)


def test_check_finite_names_view_and_count() -> None:
    nan, inf = Z.clone(), Z.clone()
    nan[0, :3] = math.nan
    inf[1, 2] = -math.inf
    with pytest.raises(ValueError, match=r"^z has 3 non-finite values of 24$"):
        iternorm(nan, check_finite=True)
    match = r"^view 1 has 3 non-finite values of 24; target has 1 non-finite values of 24$"
    with pytest.raises(ValueError, match=match):
        intl_loss_func([Z, nan], inf, beta=1.0, check_finite=True)
    with pytest.raises(ValueError, match=match):
        INTLLoss(beta=1.0, check_finite=True)([Z, nan], inf)
    intl_loss_func([Z, nan], inf, beta=1.0)
    intl_loss_func([Z, Z], Z, beta=1.0, check_finite=True)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: trace_loss_floor(0), ValueError, "n must be an int >= 1; found 0"),
        (lambda: trace_loss_floor(4.0), TypeError, "n must be an int >= 1; found 4.0 of type float"),
        (lambda: trace_loss_floor(4, rank=0), ValueError, "rank must be an int >= 1; found 0"),
        (lambda: trace_loss_floor(4, rank=5), ValueError, "rank must be at most n = 4; found 5"),
        (lambda: whitened_size(1, 6), ValueError, "m must be an int >= 2; found 1"),
        (lambda: spectrum_rank(4, 1), ValueError, "d must be an int >= 2; found 1"),
        (lambda: default_beta(0), ValueError, "size must be an int >= 1; found 0"),
        (lambda: default_beta(16.0), TypeError, "size must be an int >= 1; found 16.0 of type float"),
        (lambda: spectral_map("x"), TypeError, "x must be a number or a floating-point tensor; found str"),
        (lambda: spectral_map(True), TypeError, "x must be a number or .*; found bool"),
        (
            lambda: spectral_map(torch.tensor(1)),
            TypeError,
            r"floating-point tensor; found dtype torch\.int64",
        ),
    ],
)
def test_theory_arguments(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
