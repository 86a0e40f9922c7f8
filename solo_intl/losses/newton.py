"""Newton's iteration as a polynomial of a Gram matrix: value and adjoint, for a stack of matrices.

x is symmetric [n, k, k] with eigenvalues in [0, 1]; P_t(x) is t steps, 1 to 4, of
P_{k+1} = (3 P_k - P_k^3 x) / 2 from P_0 = I. docs/loss.md counts the products. Whatever is made of one x
commutes, so every value is symmetric, and only the symmetric part of a gradient counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CACHED = 512  # rows of a matrix whose transpose may be read as it lies; a larger one leaves a core's cache


class Newton(NamedTuple):
    """P = P_t(x) and what its adjoint needs, all [n, k, k]; empty where t steps need none.

    One or two steps: P = f(x). Three or four: w = x f(x)^2 is the covariance after two, and P = f(x) g(w).
    The two steps of f or g are a polynomial of degree four, made of two squares; v or u is the second's root.
    """

    p: Tensor
    x: Tensor
    v: Tensor
    f: Tensor
    w: Tensor
    u: Tensor
    g: Tensor


def newton(x: Tensor, steps: int) -> Newton:
    """P_steps(x): 0, 2, 5 or 7 products."""
    f, v = _polynomial(x, min(steps, 2))
    if steps <= 2:
        return Newton(f, x, v, *(x.new_empty(len(x), 0) for _ in range(4)))
    w = torch.bmm(f, torch.bmm(f, x))
    g, u = _polynomial(w, steps - 2)
    return Newton(torch.bmm(f, g), x, v, f, w, u, g)


def newton_adjoint(values: Newton, dp: Tensor) -> Tensor:
    """The symmetric gradient of x from the symmetric gradient of P: 0, 2, 7 or 9 products."""
    _, x, v, f, w, u, g = values
    if g.numel() == 0:
        return _polynomial_adjoint(x, v, dp)
    dw = _polynomial_adjoint(w, u, symmetrised(_scaled(dp, f, 0.5)))
    # w = f x f: df = 2 sym(dw f x), dx = f dw f
    dwf = torch.bmm(dw, f)
    df = symmetrised(_scaled(dp, g, 0.5).baddbmm_(dwf, x))
    return _polynomial_adjoint(x, v, df).baddbmm_(f, dwf)


def _polynomial(x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """P_1 = (3 - x) / 2, or P_2 = (36 - 39 x + 27 x^2 - 9 x^3 + x^4) / 16 by way of v = x^2 - 9/2 x."""
    if steps == 1:
        return _plus_identity(-0.5 * x, 1.5), x.new_empty(len(x), 0)
    square = torch.bmm(x, x)
    v = torch.sub(square, x, alpha=4.5)
    rest = _plus_identity(square.mul_(27 / 64).sub_(x, alpha=39 / 16), 9 / 4)
    return rest.baddbmm_(v, v, alpha=1 / 16), v


def _polynomial_adjoint(x: Tensor, v: Tensor, grad: Tensor) -> Tensor:
    if v.numel() == 0:
        return -0.5 * grad
    dv = symmetrised(_scaled(grad, v, 1 / 16))
    dsquare = torch.add(dv, grad, alpha=27 / 64)
    return symmetrised(torch.bmm(dsquare, x)).sub_(grad, alpha=39 / 16).sub_(dv, alpha=4.5)


def _plus_identity(a: Tensor, amount: float) -> Tensor:
    a.diagonal(dim1=1, dim2=2).add_(amount)
    return a


def _scaled(a: Tensor, b: Tensor, factor: float) -> Tensor:
    return torch.baddbmm(a, a, b, beta=0, alpha=factor)


def symmetrised(a: Tensor) -> Tensor:
    """a + a^T, a new matrix, of a [n, k, k]."""
    k = a.shape[1]
    side = k if k <= _CACHED else _CACHED // 2
    blocks = [slice(start, start + side) for start in range(0, k, side)]
    out = torch.empty_like(a)
    for row in blocks:
        for column in blocks:
            torch.add(a[:, row, column], a[:, column, row].mT, out=out[:, row, column])
    return out
