"""Claims about precision and degenerate input:

1. under bf16 autocast, forward and backward equal those without it, bit for bit;
2. half-precision input is computed in fp32, fp64 in fp64, and gradients come back in the input's dtype;
3. a constant batch whitens to exact zeros with zero gradient, whatever the constant;
4. a zero row has cosine 0 and no gradient, and no epsilon shifts the cosine of a small one;
5. finite in, finite out, gradients included: scales from 1e-30 to 1e30, constant and nearly constant rows;
   the scale drops out of the result exactly, and the gradient is inversely proportional to it;
6. many iterations stay finite in fp32, also for a singular covariance;
7. NaN and infinity are never turned into a number.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from solo_intl.losses import INTLOutput, intl_loss_func, iternorm, trace_loss


@pytest.fixture(autouse=True)
def float32_for_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batches here are small, and stand for large ones, which fp64 does not help."""
    monkeypatch.setattr("solo_intl.losses.functional.small_enough_for_float64", lambda m, device: False)


both_axes = pytest.mark.parametrize("axis", ["channel", "batch"])
HALF = [torch.bfloat16, torch.float16]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def loss_and_gradients(views: list[Tensor], axis: str, **options: float) -> tuple[INTLOutput, list[Tensor]]:
    leaves = [z.detach().clone().requires_grad_() for z in views]
    out = intl_loss_func(leaves, axis=axis, beta=options.get("beta", 0.1))
    out.loss.backward()
    gradients = [z.grad for z in leaves if z.grad is not None]
    assert len(gradients) == len(views)
    return out, gradients


def assert_all_finite(views: list[Tensor], axis: str) -> None:
    out, gradients = loss_and_gradients(views, axis)
    for value in (*out, *gradients):
        assert torch.isfinite(value).all()


@both_axes
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_autocast_changes_nothing(axis: str, dtype: torch.dtype) -> None:
    views = [draw(24, 48, seed=i, dtype=dtype) for i in range(2)]
    out, gradients = loss_and_gradients(views, axis)
    whitened, trace = iternorm(views[0], axis=axis), trace_loss(views[0], axis=axis)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (views[0] @ views[0].T).dtype == torch.bfloat16 or dtype == torch.float16  # autocast is on
        inside, inside_gradients = loss_and_gradients(views, axis)
        assert torch.equal(iternorm(views[0], axis=axis), whitened)
        assert torch.equal(trace_loss(views[0], axis=axis), trace)
        target = intl_loss_func(views[:1], views[1], axis=axis).loss
    assert torch.equal(target, intl_loss_func(views[:1], views[1], axis=axis).loss)
    for value, expected in zip((*inside, *inside_gradients), (*out, *gradients), strict=True):
        assert torch.equal(value, expected)
    assert whitened.dtype == trace.dtype == inside.loss.dtype == torch.float32


@both_axes
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_computed_in_float32(axis: str, dtype: torch.dtype) -> None:
    views = [draw(24, 48, seed=i, dtype=dtype) for i in range(2)]
    out, gradients = loss_and_gradients(views, axis)
    expected, expected_gradients = loss_and_gradients([z.float() for z in views], axis)
    for part, expected_part in zip(out, expected, strict=True):
        assert part.dtype == torch.float32
        assert torch.equal(part, expected_part)
    for gradient, wide in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == dtype
        assert torch.equal(gradient, wide.to(dtype))


@both_axes
def test_float64_stays_float64(axis: str) -> None:
    a, b = draw(9, 12, seed=1, dtype=torch.float64), draw(9, 12, seed=2)
    assert iternorm(a, axis=axis).dtype == trace_loss(a, axis=axis).dtype == torch.float64
    mixed = intl_loss_func([a, b], axis=axis)
    assert all(part.dtype == torch.float64 for part in mixed)
    assert torch.equal(mixed.loss, intl_loss_func([a, b.double()], axis=axis).loss)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -1e30, 1e-40])
@pytest.mark.parametrize("shape", [(9, 20), (20, 9)])
@both_axes
def test_constant_batch_gives_zeros_and_zero_gradient(
    axis: str, shape: tuple[int, int], constant: float
) -> None:
    m, d = shape
    # Constant along the axis only: rows (or columns) differ from each other.
    levels = constant * torch.linspace(0.3, 1, m if axis == "channel" else d)
    z = (levels[:, None] if axis == "channel" else levels).expand(m, d).clone().requires_grad_()
    whitened = iternorm(z, axis=axis)
    assert torch.equal(whitened, torch.zeros(m, d))
    (whitened * draw(m, d)).sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros(m, d))
    out, gradients = loss_and_gradients([z, z], axis)
    assert (out.invariance, out.trace) == (2, 2 * (m if axis == "channel" else d))
    assert not any(gradient.any() for gradient in gradients)
    assert_all_finite([z.detach(), draw(m, d)], axis)


def test_constant_row_has_cosine_zero_and_no_gradient() -> None:
    a, b = draw(10, 16, seed=1), draw(10, 16, seed=2)
    a[3], b[3] = 0.1, 0.7
    out, gradients = loss_and_gradients([a, a], "channel")
    assert out.invariance.item() == pytest.approx(2 / 10, abs=1e-5)
    for gradient in (*gradients, *loss_and_gradients([a, b], "channel")[1]):
        assert not gradient[3].any()
        assert torch.isfinite(gradient).all()
        assert gradient[4].any()


def test_small_rows_keep_their_direction() -> None:
    # Rows of Zhat around 1e-12: an epsilon inside the cosine would pull its value towards 0.
    a = draw(10, 16, dtype=torch.float64)
    a[3] *= 1e-12
    assert intl_loss_func([a, a], beta=0).invariance.abs() < 1e-12


@both_axes
@pytest.mark.parametrize("shape", [(12, 24), (24, 12)])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-5, 1e5, 1e20, 1e30])
def test_scale_drops_out(axis: str, shape: tuple[int, int], scale: float) -> None:
    views = [draw(*shape, seed=i) for i in range(2)]
    out, gradients = loss_and_gradients(views, axis)
    scaled, scaled_gradients = loss_and_gradients([z * scale for z in views], axis)
    for part, expected in zip(scaled, out, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-6)
    for gradient, expected in zip(scaled_gradients, gradients, strict=True):
        torch.testing.assert_close(gradient * scale, expected, rtol=1e-3, atol=1e-5)


@both_axes
@pytest.mark.parametrize("exponent", [-100, -7, 3, 100])
def test_powers_of_two_drop_out_bit_for_bit(axis: str, exponent: int) -> None:
    z = draw(12, 24)
    assert torch.equal(iternorm(torch.ldexp(z, torch.tensor(exponent)), axis=axis), iternorm(z, axis=axis))


@both_axes
def test_the_ends_of_the_range_are_finite(axis: str) -> None:
    z = draw(12, 24).clamp(-1, 1)
    for scale in (3e38, 1e-37, 1e-40):
        assert torch.isfinite(iternorm(z * scale, axis=axis)).all()
        assert torch.isfinite(intl_loss_func([z * scale, z], axis=axis).loss)


@both_axes
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("residual", [0.0, 1e-6, 1e-3])
def test_nearly_constant_rows_and_columns_are_finite(axis: str, scale: float, residual: float) -> None:
    views = [draw(12, 24, seed=i) for i in range(2)]
    for z in views:
        z[2] = 0.1 + residual * z[2]
        z[:, 5] = 0.7 + residual * z[:, 5]
        z *= scale
    assert_all_finite(views, axis)


@both_axes
@pytest.mark.parametrize("small", [1e-38, 1e-25, 1e-12])
def test_rows_far_below_the_others_are_finite(axis: str, small: float) -> None:
    views = [draw(12, 24, seed=i) for i in range(2)]
    for z in views:
        z[2] *= small
        z[:, 5] *= small
    assert_all_finite(views, axis)


@both_axes
@pytest.mark.parametrize("copies", [1, 2])
def test_many_iterations_stay_accurate_in_float32(axis: str, copies: int) -> None:
    z = draw(24, 48).repeat(copies, 1)  # copies: a singular covariance
    for iterations in (8, 12, 16):
        wide = iternorm(z.double(), iterations=iterations, axis=axis).float()
        torch.testing.assert_close(iternorm(z, iterations=iterations, axis=axis), wide, rtol=1e-2, atol=1e-2)
    assert torch.isfinite(iternorm(z, iterations=100, axis=axis)).all()


@both_axes
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_input_is_never_hidden(axis: str, value: float) -> None:
    z = draw(12, 24)
    z[3, 4] = value
    assert iternorm(z, axis=axis).isnan().any()
    for views, target in (([z, draw(12, 24)], None), ([draw(12, 24), z], None), ([draw(12, 24)], z)):
        out = intl_loss_func(views, target, axis=axis)
        assert out.loss.isnan()
