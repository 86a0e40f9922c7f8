"""The statistics that the loss is made of, from Gram matrices alone: no whitened embedding is ever formed.

With X the centred embeddings over their Frobenius norm, G = X X^T and C_v = X_0 X_v^T (all m x m), whitening
is P(G) X. So the squared norms of its rows are diag(P G P), and the inner products with view 0's are
diag(P_0 C_v P_v). docs/loss.md derives each step and counts its products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .centring import Centring, centred, centring
from .newton import Newton, newton, newton_adjoint, symmetrised
from .precision import gram_precision, without_autocast

_ROWS = 128  # of a symmetric product made at once on a CPU; fewer slow it down

Reference = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]


class GramStatistics(torch.autograd.Function):
    """(reference, steps, raw, precision, *z), n z's [m, d], m <= d -> norms [n, m], products [n - 1, m].

    raw: z is to be centred and divided by its Frobenius norm first. The reference is the same function of the
    z's made of differentiable operations: it stands in when the gradient is itself to be differentiated.
    The other outputs are for the backward pass only.
    """

    @staticmethod
    def forward(
        reference: Reference, steps: int, raw: bool, precision: str, *zs: Tensor
    ) -> tuple[Tensor, ...]:
        how = centring(zs) if raw else None
        gram, cross = _grams(zs, how, precision)
        size = gram.new_ones(len(zs))  # one over the Frobenius norm
        if raw:
            trace = gram.diagonal(dim1=1, dim2=2).sum(1)
            # a constant batch is selected away, gradient included, instead of divided by a padded trace
            size = torch.where(trace == 0, 0.0, trace.rsqrt())
            gram *= size[:, None, None] * size[:, None, None]
            cross *= size[:1, None, None] * size[1:, None, None]
        values = newton(gram, steps)
        px = torch.bmm(values.p, gram)
        right = torch.bmm(values.p[:1].expand_as(cross), cross)
        norms = (px * values.p).sum(2)
        products = (right * values.p[1:]).sum(2)
        return norms, products, size, cross, right, px, *values, *(how or ())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.reference, _, _, _, *zs = inputs
        ctx.count = len(zs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*zs, *output[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        zs, saved = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        m, n = len(zs[0]), ctx.count
        dnorms = zs[0].new_zeros(n, m) if grads[0] is None else grads[0]
        dproducts = zs[0].new_zeros(n - 1, m) if grads[1] is None else grads[1]
        with without_autocast(zs[0].device):
            if torch.is_grad_enabled():
                return None, None, None, None, *_differentiable(ctx.reference, zs, dnorms, dproducts)
            first = 0 if ctx.needs_input_grad[4] else 1
            size, cross, right, px, *others = saved
            values, how = Newton(*others[:7]), Centring(*others[7:]) if others[7:] else None
            factors = _factors(first, dnorms, dproducts, size, cross, right, px, values, how)
            return None, None, None, None, *_gradients(first, factors, zs, how)


def _grams(zs: Sequence[Tensor], how: Centring | None, precision: str) -> tuple[Tensor, Tensor]:
    """X_v X_v^T [n, m, m] and X_0 X_v^T [n - 1, m, m]; of a symmetric one the blocks above the diagonal."""
    (m, d), n = zs[0].shape, len(zs)
    rows = _ROWS if zs[0].device.type == "cpu" else m
    with_first, gram = zs[0].new_zeros(m, n * m), zs[0].new_zeros(n, m, m)
    for _, x in centred(zs, how, measure_residual=True):
        stacked = x.flatten(0, 1)
        with gram_precision(precision):
            for start in range(0, m, rows):
                chunk = slice(start, start + rows)
                with_first[chunk, start:].addmm_(x[0, chunk], stacked[start:].T)
                for own, view in zip(gram[1:], x[1:], strict=True):
                    own[chunk, start:].addmm_(view[chunk], view[start:].T)
    gram[0] = with_first[:, :m]
    cross = torch.stack(with_first.split(m, dim=1)[1:])
    for stop in range(rows, m, rows):
        chunk = slice(stop - rows, stop)
        gram[:, stop:, chunk] = gram[:, chunk, stop:].mT
    if how is not None:
        # (X + r 1^T)(X + r 1^T)^T = X X^T + d r r^T, for the rows of X sum to zero
        r = how.residual
        gram.baddbmm_(r, r.mT, alpha=-d)
        cross.baddbmm_(r[:1].expand_as(r[1:]), r[1:].mT, alpha=-d)
    return gram, cross


def _differentiable(
    reference: Reference, zs: Sequence[Tensor], dnorms: Tensor, dproducts: Tensor
) -> list[Tensor | None]:
    wanted = [z for z in zs if z.requires_grad]
    found = iter(torch.autograd.grad(reference(zs), wanted, (dnorms, dproducts), create_graph=True))
    return [next(found) if z.requires_grad else None for z in zs]


def _factors(
    first: int,
    dnorms: Tensor,
    dproducts: Tensor,
    size: Tensor,
    cross: Tensor,
    right: Tensor,
    px: Tensor,
    values: Newton,
    how: Centring | None,
) -> list[Tensor]:
    """What the gradients are products of: dz_0 = F_0 [X_0; ...; X_n-1] and dz_v = F_v [X_0; X_v]."""
    p = values.p
    # norms = diag(P G P): dP = D V + V D with V = P G, symmetric, and dG = P D P
    dp = px[first:] * dnorms[first:, :, None]
    # products_v = diag(P_0 C_v P_v): dP_v = sym(E P_0 C_v), dP_0 = sum_v sym(C_v P_v E), dC_v = P_0 E P_v
    half = 0.5 * dproducts[:, :, None]
    dp[1 - first :] += right * half
    if first == 0:
        dp[0] += torch.bmm(cross, p[1:] * half.mT).sum(0)
    dp = symmetrised(dp)
    shared = torch.bmm(p[:1].expand_as(cross), p[1:] * dproducts[:, :, None])
    grad = newton_adjoint(Newton(*(t[first:] for t in values)), dp)
    del dp
    grad.baddbmm_(p[first:], p[first:] * dnorms[first:, :, None]).mul_(2)
    if how is None:
        return _rows(first, grad, shared, shared)
    # X = Xc / |Xc|: dXc = (dX - X <X, dX>) / |Xc|, where <X, dX> is to be had from the Gram matrices
    radial = (grad * values.x[first:]).sum((1, 2))
    common = (shared * cross).sum((1, 2))
    radial[1 - first :] += common
    if first == 0:
        radial[0] += common.sum()
    grad.diagonal(dim1=1, dim2=2).sub_(radial[:, None])
    factor = (size * how.unit)[:, None, None]
    grad *= (size[:, None, None] * factor)[first:]
    return _rows(first, grad, shared * (size[0] * factor[1:]), shared.mul_(size[1:, None, None] * factor[0]))


def _rows(first: int, own: Tensor, to_others: Tensor, to_first: Tensor) -> list[Tensor]:
    rows = [
        torch.cat((other.T, mine), dim=1) for other, mine in zip(to_others, own[1 - first :], strict=True)
    ]
    return rows if first else [torch.cat((own[0], *to_first), dim=1), *rows]


def _gradients(
    first: int, factors: Sequence[Tensor], zs: Sequence[Tensor], how: Centring | None
) -> list[Tensor | None]:
    # The rows of X are centred, hence those of its gradient are: centring needs no step of its own.
    grads = [torch.empty_like(z, memory_format=torch.contiguous_format) for z in zs[first:]]
    for columns, x in centred(zs, how):
        for v, (factor, grad) in enumerate(zip(factors, grads, strict=True), start=first):
            pair = x if v == 0 or len(zs) == 2 else x[[0, v]]
            torch.mm(factor, pair.flatten(0, 1), out=grad[:, columns])
    return [*[None] * first, *grads]
