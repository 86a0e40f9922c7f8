"""Claims: cross-entropy of a batch without targets is 0 inside the mend and NaN outside, with the same
gradients; with targets nothing changes; DeepCluster V2 logs 0 in its first epoch, and a loss after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch.nn import functional as F

from solo_intl.engine.pretrain import prepare
from solo_intl.host.deepcluster import NoTargetsNoLoss

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loss_and_gradient(targets: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    logits = LOGITS.clone().requires_grad_()
    loss = F.cross_entropy(logits, torch.tensor(targets), ignore_index=-1)
    loss.backward()
    return loss.detach(), logits.grad


def test_no_targets():
    loss, gradient = loss_and_gradient([-1] * 4)
    assert loss.isnan()
    with NoTargetsNoLoss():
        mended, same = loss_and_gradient([-1] * 4)
    assert mended == 0
    assert torch.equal(same, gradient)


def test_some_targets():
    loss, gradient = loss_and_gradient([2, -1, 0, -1])
    with NoTargetsNoLoss():
        mended, same = loss_and_gradient([2, -1, 0, -1])
    assert mended == loss > 0
    assert torch.equal(same, gradient)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_logged(make_cfg: Callable[..., DictConfig], precision: str):
    run = prepare(
        make_cfg(
            method="deepclusterv2",
            method_kwargs={"proj_hidden_dim": 32, "proj_output_dim": 16, "num_prototypes": [8, 8]},
            max_epochs=2,
            precision=precision,
        )
    )
    logged: list[float] = []
    original = run.model.on_train_epoch_end

    def keep() -> None:
        original()
        logged.append(float(run.trainer.callback_metrics["train_deepcluster_loss_epoch"]))

    run.model.on_train_epoch_end = keep
    run.trainer.fit(run.model, run.train)
    assert logged[0] == 0
    assert logged[1] > 0
