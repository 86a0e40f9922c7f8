"""`whiten` with a backward pass by hand: for the losses that do need the whitened embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .newton import Newton, newton, newton_adjoint
from .precision import gram_precision, without_autocast
from .whitening import STEPS_PER_COVARIANCE, whiten


def fast_whiten(y: Tensor, iterations: int, precision: str) -> Tensor:
    """`whiten`: P_T(y y^T) y for y of Frobenius norm 1, y y^T made at the precision."""
    tall = y.shape[0] > y.shape[1]
    y = y.mT if tall else y
    for done in range(0, iterations, STEPS_PER_COVARIANCE):
        y, *_ = _Whiten.apply(y, min(STEPS_PER_COVARIANCE, iterations - done), precision)
    return y.mT if tall else y


class _Whiten(torch.autograd.Function):
    """(y [k, l], t <= 4, precision) -> P_t(y y^T) y, and what the backward pass needs.

    Five products of k^2 l in all, two of them forward.
    """

    @staticmethod
    def forward(y: Tensor, steps: int, precision: str) -> tuple[Tensor, ...]:
        with gram_precision(precision):
            gram = y @ y.T
        values = newton(gram[None], steps)
        return values.p[0] @ y, *values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, str], output: tuple[Tensor, ...]) -> None:
        y, ctx.steps, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(y, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, None, None]:
        if grad is None:
            return None, None, None
        y, *saved = ctx.saved_tensors
        with without_autocast(grad.device):
            if torch.is_grad_enabled():
                (dy,) = torch.autograd.grad(whiten(y, ctx.steps), y, grad, create_graph=True)
                return dy, None, None
            values = Newton(*saved)
            dp = grad @ y.T
            dx = newton_adjoint(values, (dp + dp.T)[None])[0]  # twice the symmetric part
            return (values.p[0] @ grad).addmm_(dx, y), None, None
