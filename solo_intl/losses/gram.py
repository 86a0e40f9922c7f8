"""The statistics that the loss is made of, from Gram matrices alone: no whitened embedding is ever formed.

With X the centred embeddings over their Frobenius norm, G = X X^T and C_v = X_0 X_v^T (all m x m), whitening is
P(G) X. So the squared norms of its rows are diag(P G P), and the inner products with view 0's are
diag(P_0 C_v P_v). docs/loss.md derives each step and counts its products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .newton import Newton, newton, newton_adjoint
from .precision import without_autocast

Reference = Callable[..., tuple[Tensor, Tensor]]


class GramStatistics(torch.autograd.Function):
    """(reference, steps, embed, z_0, ..., z_n-1), each z [m, d] -> squared norms [n, m], products [n - 1, m].

    The reference is the same function made of differentiable operations. It stands in when the gradient is itself
    to be differentiated.
    """

    @staticmethod
    def forward(reference: Reference, steps: int, centre: bool, *zs: Tensor) -> tuple[Tensor, ...]:
        x, scale = _centred(zs) if centre else (torch.stack(zs), zs[0].new_ones(len(zs)))
        gram, cross = torch.bmm(x, x.mT), x[0] @ x[1:].flatten(0, 1).T
        cross = cross.view(len(x[0]), -1, len(x[0])).transpose(0, 1)
        if centre:
            trace = gram.diagonal(dim1=1, dim2=2).sum(1)
            # a constant batch is selected away, gradient included, instead of divided by a padded trace
            size = torch.where(trace == 0, 0.0, trace.rsqrt())
        else:
            size = torch.ones_like(scale)
        gram.mul_((size * size)[:, None, None])
        cross = cross * (size[0] * size[1:])[:, None, None]
        values = newton(gram, steps)
        del gram
        right = torch.bmm(values.p[:1].expand_as(cross), cross)
        norms = (values.px * values.p).sum(2)
        products = (right * values.p[1:]).sum(2)
        return norms, products, x, scale, size, cross, right, *values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.reference, ctx.centre = inputs[0], inputs[2]
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.count = len(inputs) - 3
        ctx.save_for_backward(*inputs[3:], *output[2:])

    @staticmethod
    def backward(ctx: Any, *grads_of_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        zs, saved = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        shape = ctx.count, zs[0].shape[0]
        dnorms, dproducts = (
            zs[0].new_zeros(rows, shape[1]) if grad is None else grad
            for rows, grad in zip((shape[0], shape[0] - 1), grads_of_outputs[:2], strict=True)
        )
        with without_autocast(zs[0].device):
            if torch.is_grad_enabled():
                grads = _differentiable(ctx.reference, zs, dnorms, dproducts)
            else:
                first = 0 if ctx.needs_input_grad[3] else 1
                grads = _backward(first, ctx.centre, dnorms, dproducts, *saved[:5], Newton(*saved[5:]))
        return (None, None, None, *grads)


def _differentiable(
    reference: Reference, zs: tuple[Tensor, ...], dnorms: Tensor, dproducts: Tensor
) -> list[Tensor | None]:
    wanted = [z for z in zs if z.requires_grad]
    found = iter(torch.autograd.grad(reference(zs), wanted, (dnorms, dproducts), create_graph=True))
    return [next(found) if z.requires_grad else None for z in zs]


def _backward(
    first: int,
    centre: bool,
    dnorms: Tensor,
    dproducts: Tensor,
    x: Tensor,
    scale: Tensor,
    size: Tensor,
    cross: Tensor,
    right: Tensor,
    values: Newton,
) -> list[Tensor | None]:
    p, px = values.p, values.px
    m = p.shape[1]
    # norms_i = (P G P)_ii: dP = D V + V D (V = P G is symmetric), dG = P D P
    dp = px * (dnorms[:, :, None] + dnorms[:, None, :])
    # products_i = (P_0 C P_v)_ii, right = P_0 C
    half = 0.5 * dproducts[:, :, None]
    side = half * right
    dp[1:] += side
    dp[1:] += side.mT
    if first == 0:
        side = half * torch.bmm(cross, p[1:]).mT
        dp[0] += side.sum(0)
        dp[0] += side.mT.sum(0)
    del side
    dcross = torch.bmm(p[:1].expand_as(cross), dproducts[:, :, None] * p[1:])
    grad = newton_adjoint(Newton(*(t[first:] if len(t) else t for t in values)), dp[first:])
    del dp
    grad.baddbmm_(p[first:], dnorms[first:, :, None] * p[first:])
    grad.mul_(2)
    # X = Z / |Z|: dZ = (dX - X <X, dX>) / |Z|, where <X, dX> can be read off the Gram matrices too
    if centre:
        radial = (grad * values.x[first:]).sum((1, 2))
        shared = (dcross * cross).sum((1, 2))
        radial[1 - first :] += shared
        if first == 0:
            radial[0] += shared.sum()
        grad.diagonal(dim1=1, dim2=2).sub_(radial[:, None])
    factor = size * scale
    grad.mul_((size * factor)[first:, None, None])
    # rows of X are centred, hence those of the gradient: centring needs no backward
    to_views = torch.bmm(grad, x[first:])
    to_views[1 - first :].flatten(0, 1).addmm_(
        (dcross.mT * (size[0] * factor[1:])[:, None, None]).reshape(-1, m), x[0]
    )
    if first == 0:
        across = (dcross * (factor[0] * size[1:])[:, None, None]).transpose(0, 1).reshape(m, -1)
        to_views[0].addmm_(across, x[1:].flatten(0, 1))
    return [None] * first + list(to_views)


def _centred(zs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Each z centred by row and brought near 1 by a power of two: [n, m, d], and dX/dZ, [n]."""
    m, d = zs[0].shape
    x, scale = zs[0].new_empty(len(zs), m, d), zs[0].new_empty(len(zs))
    weights = zs[0].new_full((d, 1), 1 / d)
    for i, z in enumerate(zs):
        # a quarter: differences cannot overflow. The shift by the first entry makes constant rows exactly 0.
        torch.add(-0.25 * z[:, :1], z, alpha=0.25, out=x[i])
        # A shifted row holds a 0, so its largest magnitude is within a factor of 2 of that after centring
        low, high = x[i].aminmax()
        peak = torch.maximum(-low, high)
        mantissa, _ = torch.frexp(peak)
        unit = torch.where(peak == 0, 1.0, (2 * mantissa / peak).clamp(max=2.0**126))
        x[i].sub_(x[i] @ weights).mul_(unit)
        scale[i] = 0.25 * unit
    return x, scale
