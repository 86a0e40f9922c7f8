"""Claims: the modules equal the functions for every setting, hold no parameters or state, and can be pickled;
without a process group `gather_distributed` changes nothing.
"""

from __future__ import annotations

import pickle

import pytest
import torch

from solo_intl.losses import INTLLoss, IterNorm, intl_loss_func, iternorm


@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("iterations", [0, 4])
def test_iternorm(axis: str, iterations: int) -> None:
    z = torch.randn(12, 20)
    module = IterNorm(iterations, axis)
    assert torch.equal(module(z), iternorm(z, iterations=iterations, axis=axis))
    assert repr(module) == f"IterNorm(iterations={iterations}, axis='{axis}')"


@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("beta", [None, 0.3])
@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("with_target", [False, True])
def test_intl_loss(axis: str, beta: float | None, gather: bool, with_target: bool) -> None:
    views, target = [torch.randn(12, 20) for _ in range(3)], torch.randn(12, 20) if with_target else None
    module = pickle.loads(pickle.dumps(INTLLoss(beta, 3, axis, gather)))
    expected = intl_loss_func(views, target, beta=beta, iterations=3, axis=axis)
    for part, expected_part in zip(module(views, target), expected, strict=True):
        assert torch.equal(part, expected_part)
    assert repr(module) == f"INTLLoss(beta={beta}, iterations=3, axis='{axis}', gather_distributed={gather})"


def test_no_state() -> None:
    for module in (IterNorm(), INTLLoss()):
        assert not module.state_dict()
        assert not list(module.parameters())
