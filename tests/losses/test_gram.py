"""Claims about the loss from Gram matrices, beside the same loss read off what `iternorm` returns:

1. in float64 the parts and the gradients are equal, for every number of steps up to 9, views, a target,
   columns in one block or several, and whichever views need a gradient;
2. a part alone may be differentiated, and a gradient may be differentiated again;
3. in float32 the loss holds 1e-5 of its size and its gradient 1e-4 of its own, over spectra from flat to a
   condition of 1e16, collapse to rank 1 and 16 steps (rank 3: as the plain form does in float32);
4. two views cost 7 products of m^2 d and 39 of m^3; n views 5n - 3 and 21n - 3; n with a target 4n + 1 and
   20n + 8; of the n or n + 1 Gram matrices only the blocks of 128 rows above the diagonal are made; and with
   more images than channels it is 5 products of m d^2 and 16 of d^3 a view;
5. nothing of size m x d is kept for the backward pass but the views themselves, and of n views 10n - 2
   matrices m x m are (two: 18), of n and a target 10n + 8;
6. up to 32 float32 images give the float64 loss and gradients, rounded once; 33 do not;
7. rows whose mean is 1e5 times their spread are as well centred as the reference centres them;
8. neither pass asks a device for a value, which would wait for it (on the meta device, which has none).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gram_cases import SPECTRA, M, Products, draw, from_gram, from_whitened, gradients, leaves
from torch import Tensor

from solo_intl.losses import intl_loss_func


@pytest.mark.parametrize("count, with_target", [(2, False), (4, False), (1, True), (3, True)])
@pytest.mark.parametrize("m, d", [(9, 20), (12, 12), (5, 1300)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_equals_the_loss_of_whitened_embeddings(
    steps: int, m: int, d: int, count: int, with_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solo_intl.losses.centring._BLOCK", 1)  # 256 columns at a time
    monkeypatch.setattr("solo_intl.losses.gram._ROWS", 5)
    views = leaves(draw(count + with_target, m, d))
    target = views.pop() if with_target else None
    found, expected = from_gram(views, target, steps), from_whitened(views, target, steps)
    for part, other in zip(found, expected, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradients(found[0], views), gradients(expected[0], views), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_view_may_need_no_gradient(frozen: int) -> None:
    views = leaves(draw(3, 8, 20))
    views[frozen].requires_grad_(False)
    moving = [z for z in views if z.requires_grad]
    found, expected = from_gram(views, None, 4)[0], from_whitened(views, None, 4)[0]
    torch.testing.assert_close(gradients(found, moving), gradients(expected, moving))


@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("steps", [2, 4, 6])
def test_a_part_alone_and_its_second_derivative(part: int, steps: int) -> None:
    views = leaves(draw(2, 6, 15))
    first = [gradients(f(views, None, steps)[part], views) for f in (from_gram, from_whitened)]
    torch.testing.assert_close(*first)
    second = []
    for function in (from_gram, from_whitened):
        gradient = torch.autograd.grad(function(views, None, steps)[part], views, create_graph=True)
        torch.testing.assert_close(torch.stack(gradient), first[1])
        second.append(gradients(sum((g**2).sum() for g in gradient), views))
    torch.testing.assert_close(*second)


@pytest.mark.parametrize("steps", [2, 4])
def test_the_batch_axis_and_tall_batches_differentiate_twice(steps: int) -> None:
    for axis, (m, d) in (("batch", (5, 9)), ("batch", (9, 5)), ("channel", (9, 5))):
        views = leaves(draw(2, m, d))

        def loss(*zs: Tensor, axis: str = axis) -> Tensor:
            return intl_loss_func(zs, beta=0.1, iterations=steps, axis=axis).loss

        assert torch.autograd.gradcheck(loss, views)
        assert torch.autograd.gradgradcheck(loss, views, fast_mode=True)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 8, 16])
def test_float32_holds_over_conditionings(steps: int, name: str) -> None:
    torch.manual_seed(0)
    narrow = leaves(SPECTRA[name](256), torch.float32)
    wide = leaves(narrow)
    found, expected = from_gram(narrow, None, steps)[0], from_whitened(wide, None, steps)[0]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    exact = gradients(expected, wide)
    allowed = 1e-4 * exact.norm()
    if name == "rank 3":  # the rounding of the input itself is in Sigma's null space, and grows
        allowed += 1.2 * (gradients(from_whitened(narrow, None, steps)[0], narrow) - exact).norm()
    assert (gradients(found, narrow) - exact).norm() <= allowed


@pytest.mark.parametrize(
    "count, with_target, long, short",
    [(2, False, 7, 39), (4, False, 17, 81), (6, False, 27, 123), (1, True, 5, 28), (5, True, 21, 108)],
)
def test_number_of_products(count: int, with_target: bool, long: int, short: int) -> None:
    m, d = 16, 40000
    views = leaves(draw(count + with_target, m, d), torch.float32)
    target = views.pop() if with_target else None
    with Products(m) as products:
        from_gram(views, target, 4)[0].backward()
    assert (products.long, products.short) == (long * m * m * d, short * m**3)


def test_gram_matrices_are_made_above_the_diagonal() -> None:
    m, d = 256, 1024
    views = leaves(draw(2, m, d), torch.float32)
    with Products(m) as products:
        from_gram(views, None, 4)[0].backward()
    # of two blocks by two, three; and the cross product and the gradients in full
    assert (products.long, products.short) == (int((2 * 3 / 4 + 1 + 4) * m * m * d), 39 * m**3)


@pytest.mark.parametrize("count", [2, 4])
def test_number_of_products_of_tall_batches(count: int) -> None:
    m, d = 200, 24
    views = leaves(draw(count, m, d), torch.float32)
    with Products(d) as products:
        from_gram(views, None, 4)[0].backward()
    assert (products.long, products.short) == (5 * count * m * d * d, 16 * count * d**3)


@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("m", [10, 32, 33])
def test_small_batches_are_computed_in_float64(m: int, axis: str) -> None:
    narrow = leaves(draw(2, m, 48), torch.float32)
    wide = leaves(narrow)
    found, exact = (intl_loss_func(zs, beta=0.1, axis=axis) for zs in (narrow, wide))
    assert all(part.dtype == torch.float32 for part in found)
    gradient, exact_gradient = gradients(found.loss, narrow), gradients(exact.loss, wide)
    assert gradient.dtype == torch.float32
    assert torch.equal(gradient, exact_gradient.float()) == (m <= 32)
    if m <= 32:
        assert all(part == exact_part.float() for part, exact_part in zip(found, exact, strict=True))


def test_rows_far_from_zero_are_centred() -> None:
    views = leaves([1e5 + z for z in draw(2, M, 256)], torch.float32)
    exact = leaves(views)
    expected = gradients(from_whitened(exact, None, 4)[0], exact)
    found = gradients(from_gram(views, None, 4)[0], views)
    reference = gradients(from_whitened(views, None, 4)[0], views)
    assert (found - expected).norm() <= max(1e-5 * expected.norm(), 2 * (reference - expected).norm())


@pytest.mark.parametrize("d", [600, 3000])
@pytest.mark.parametrize(
    ("count", "with_target", "matrices"), [(2, False, 18), (4, False, 38), (3, True, 38)]
)
def test_bytes_kept_for_the_backward_pass(d: int, count: int, with_target: bool, matrices: int) -> None:
    m = 64
    views = leaves(draw(count + with_target, m, d), torch.float32)
    target = views.pop() if with_target else None
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        from_gram(views, target, 4)
    for z in [*views, *([] if target is None else [target])]:
        kept.pop(z.untyped_storage().data_ptr())
    assert sum(kept.values()) // (4 * m * m) == matrices


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"with_target": True},
        {"axis": "batch"},
        {"m": 200},
        {"m": 16},
        {"iterations": 0},
        {"iterations": 6},
    ],
)
def test_no_pass_waits_for_the_device(settings: dict[str, Any]) -> None:
    given = {"m": 64, "axis": "channel", "iterations": 4, "with_target": False, **settings}
    views = [torch.empty(given["m"], 128, device="meta", requires_grad=True) for _ in range(3)]
    target = views.pop() if given["with_target"] else None
    # on this device reading a value, branching on one, or a shape that depends on one is an error
    found = intl_loss_func(views, target, beta=0.1, axis=given["axis"], iterations=given["iterations"])
    found.loss.backward()
    assert all(z.grad is not None and z.grad.device.type == "meta" for z in views)
