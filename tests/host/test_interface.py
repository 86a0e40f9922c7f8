"""Claims: a class written against HEAD's BaseMomentumMethod runs on this host: the momentum network moves by
exactly its coefficient, whose schedule ends at final_tau; Lightning never sees 1.0.2's names; momentum
methods keep HEAD's attribute names; the linear model and 1.0.2's mended parts do what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from solo_intl import host
from solo_intl.engine.pretrain import prepare


class Mean(host.BaseMomentumMethod):
    """The smallest momentum method: pull online features towards the momentum network's."""

    METHOD_KWARGS = ("unused",)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        out = super().training_step(batch, batch_idx)
        online, momentum = out["feats"], out["momentum_feats"]
        if any(m.requires_grad for m in momentum):
            raise RuntimeError("the momentum network must not receive gradients")
        distance = sum((a - b).square().mean() for a, b in zip(online, momentum, strict=True))
        return distance + out["loss"]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host.METHODS, "mean", Mean)


def test_momentum_method_through_heads_interface(make_cfg, registered):
    cfg = make_cfg(method="mean", momentum={"base_tau": 0.9, "final_tau": 1.0})
    cfg.method_kwargs = {}
    cfg.data.max_images = 16
    run = prepare(cfg)
    model = run.model
    start = model.momentum_backbone.layer4[1].conv2.weight.detach().clone()
    run.trainer.fit(model, run.train)
    online = model.backbone.layer4[1].conv2.weight.detach()
    moved = model.momentum_backbone.layer4[1].conv2.weight.detach()
    assert not torch.equal(online, start)
    torch.testing.assert_close(moved, 0.9 * start + 0.1 * online)
    assert model.momentum_updater.cur_tau == pytest.approx(1.0), "after the last step"
    assert not callable(getattr(model, "validation_epoch_end", None))
    names = {name.split(".")[0] for name in model.state_dict()}
    assert {"backbone", "momentum_backbone", "classifier"} <= names
    assert not names & {"encoder", "momentum_encoder"}


def test_linear_model_with_two_classes(make_cfg):
    backbone, _ = host.build_backbone(make_cfg(image_size=16))
    cfg = make_cfg(scheduler={"name": "step", "lr_decay_steps": [1]}, data__num_classes=2)
    model = host.LinearModel(backbone, cfg)
    n, loss, top1, top5 = model.measure((torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])))
    assert n == 4
    assert loss.isfinite()
    assert float(top5) == 100.0
    assert 0 <= float(top1) <= 100
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_wmse_whitening_is_cholesky_whitening(make_cfg):
    if host.HOST.generation == host.HEAD:
        pytest.skip("solo-learn 1.0.2 is not the host: its mended whitening is missing")
    from solo_intl.host.legacy import _MendedWhitening

    x = torch.randn(64, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    out = _MendedWhitening(6, eps=0.0)(x)
    torch.testing.assert_close(out.T @ out / 63, torch.eye(6, dtype=torch.float64))
    # lower-triangular, as solo-learn's: the first output depends on the first input alone
    first = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
    torch.testing.assert_close(out[:, 0], first)


def test_online_knn_cosine_normalises():
    knn = host.BaseMethod._knn_class(k=1, distance_fx="cosine")
    train = torch.tensor([[10.0, 0.0], [0.0, 1.0]])
    knn(train_features=train, train_targets=torch.tensor([0, 1]))
    # by inner product alone the long vector of class 0 would win both
    knn(test_features=torch.tensor([[0.5, 1.0], [1.0, 0.1]]), test_targets=torch.tensor([1, 0]))
    assert float(knn.compute()[0]) == 100.0


def test_online_knn_with_labels_missing_from_either_split():
    """solo-learn's own counts classes among the validation images; a neighbour's label may lie beyond."""
    knn = host.BaseMethod._knn_class(k=2, distance_fx="euclidean")
    train = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [9.0, 9.0]])
    knn(train_features=train, train_targets=torch.tensor([7, 7, 2, 4]))
    test = torch.tensor([[0.0, 0.1], [5.0, 0.1], [9.0, 9.0]])
    knn(test_features=test, test_targets=torch.tensor([7, 2, 0]))
    assert knn.compute()[0] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_online_knn_is_solo_learns(distance: str, k: int):
    """Where every class is on both sides and features are normalised already."""
    generator = torch.Generator().manual_seed(k)
    labels = torch.arange(60) % 6
    train, test = (
        torch.nn.functional.normalize(
            torch.eye(6)[labels] + 0.6 * torch.randn(60, 6, generator=generator), dim=1
        )
        for _ in range(2)
    )
    figures = []
    for compute in (host.BaseMethod._knn_class.compute, host.BaseMethod._knn_class.__mro__[1].compute):
        knn = host.BaseMethod._knn_class(k=k, distance_fx=distance)
        knn(train_features=train, train_targets=labels, test_features=test, test_targets=labels)
        figures.append(compute(knn))
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    assert 30 < figures[0][0] < 100
