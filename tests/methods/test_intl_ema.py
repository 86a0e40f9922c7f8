"""Claims: of n views the momentum network sees the first and the online network the other n - 1, once each
per step; loss and gradient are those of `intl_loss_func` on embeddings recomputed by hand; the momentum
weights start equal, move before the forward by the cosine of the optimizer step, once per step also
with accumulation, and a resumed run ends bit for bit where the straight one does; the momentum network has
BatchNorm statistics of its own, no gradient and no place in the optimizer; the online classifier and k-NN see
online views only; mistakes are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from method_runs import embed, fixed_batches, record_inputs, views_of

from solo_intl import host
from solo_intl.config import pretrain_settings
from solo_intl.engine.pretrain import Pretraining, prepare
from solo_intl.errors import UserError
from solo_intl.losses import intl_loss_func, trace_loss_floor
from solo_intl.methods import INTLEMA

TWO, SIX = (16, 16), (16, 16, 14, 12, 8, 8)


def start(make_cfg: Any, sizes: tuple[int, ...] = TWO, **overrides: Any) -> Pretraining:
    settings = {"method": "intl_ema", "data__max_images": 16, "log_every_n_steps": 1, **overrides}
    return prepare(views_of(make_cfg(**settings), sizes))


@pytest.mark.parametrize("sizes", [TWO, SIX, (16, 16, 16), (16, 12), (12, 16)])
def test_one_momentum_forward_and_the_rest_online(make_cfg, sizes: tuple[int, ...]):
    run = start(make_cfg, sizes, data__max_images=48)
    batches = fixed_batches(run)
    model = run.model
    online, momentum = record_inputs(model.backbone), record_inputs(model.momentum_backbone)
    heads = record_inputs(model.projector), record_inputs(model.momentum_projector)
    classified = record_inputs(model.classifier)
    run.trainer.fit(model, batches)

    steps, n = 3, len(sizes)
    assert run.trainer.global_step == steps
    assert [len(seen) for seen in (online, momentum, *heads)] == [steps * (n - 1), steps] * 2
    views = [batch[1] for batch in batches]
    expected = [view for batch in views for view in batch[1:]]
    for given, first in zip(momentum, [batch[0] for batch in views], strict=True):
        assert torch.equal(given, first)
    for given, view in zip(online, expected, strict=True):
        assert torch.equal(given, view)
    large = max(sum(size == sizes[0] for size in sizes) - 1, 1)
    assert len(classified) == steps * large


@pytest.mark.parametrize("sizes", [TWO, SIX])
def test_loss_and_gradient_are_those_of_the_embeddings(make_cfg, sizes: tuple[int, ...]):
    run, by_hand = (start(make_cfg, sizes, method_kwargs__beta=0.3) for _ in range(2))
    same = by_hand.model.train()
    assert torch.equal(same.backbone.conv1.weight, run.model.backbone.conv1.weight)
    batches = fixed_batches(run)
    first, *others = next(iter(batches))[1]
    (target,) = embed(same.momentum_backbone, same.momentum_projector, [first])
    expected = intl_loss_func(embed(same.backbone, same.projector, others), target, beta=0.3)
    expected.loss.backward()
    run.trainer.fit(run.model, batches)

    logged = run.trainer.logged_metrics
    for name, value in zip(("intl_loss", "invariance", "trace"), expected, strict=True):
        assert float(logged[f"train_{name}_step"]) == pytest.approx(value.item(), rel=1e-5)
    excess = expected.trace.item() - trace_loss_floor(16, rank=16)
    assert float(logged["train_trace_excess_step"]) == pytest.approx(excess, rel=1e-4)
    assert excess > 0
    for name, parameter in same.named_parameters():
        if name.startswith(("backbone.layer4", "projector.")):
            found = run.model.get_parameter(name).grad
            torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-5)


class Weights:
    """Two layers of either network as they stood at every forward pass of the momentum network."""

    def __init__(self, model: INTLEMA) -> None:
        self.online: list[torch.Tensor] = []
        self.momentum: list[torch.Tensor] = []
        self.model = model
        model.momentum_backbone.register_forward_pre_hook(self.take)

    def take(self, *_: Any) -> None:
        self.online.append(self.now(self.model.backbone, self.model.projector))
        self.momentum.append(self.now(self.model.momentum_backbone, self.model.momentum_projector))

    @staticmethod
    def now(backbone: Any, projector: Any) -> torch.Tensor:
        parts = (backbone.layer4[1].conv2.weight, backbone.bn1.weight, projector[-1].weight)
        return torch.cat([part.detach().double().flatten() for part in parts])


def cosine(step: int, total: int, base: float) -> float:
    return 1 - (1 - base) * (math.cos(math.pi * step / total) + 1) / 2


@pytest.mark.parametrize(
    ("accumulated", "images", "step_of_batch"),
    [(1, 32, [0, 1, 2, 3]), (2, 80, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]), (3, 32, [0, 0, 1, 1])],
)
def test_momentum_moves_before_the_forward_once_per_optimizer_step(
    make_cfg, accumulated: int, images: int, step_of_batch: list[int]
):
    run = start(
        make_cfg,
        data__max_images=images,
        accumulate_grad_batches=accumulated,
        max_epochs=2,
        momentum={"base_tau": 0.5},
    )
    weights = Weights(run.model)
    run.trainer.fit(run.model, fixed_batches(run))
    total = step_of_batch[-1] + 1
    assert run.trainer.global_step == total
    assert torch.equal(weights.momentum[0], weights.online[0]), "equal at step 0, to the last bit"

    expected = weights.online[0]
    for batch, step in enumerate(step_of_batch):
        if batch and step != step_of_batch[batch - 1]:
            tau = cosine(step, total, 0.5)
            expected = tau * expected + (1 - tau) * weights.online[batch]
            assert not torch.equal(weights.online[batch], weights.online[batch - 1])
            assert (weights.momentum[batch] - weights.momentum[batch - 1]).abs().max() > 1e-5
        torch.testing.assert_close(weights.momentum[batch], expected, rtol=1e-5, atol=1e-7)
    last = weights.now(run.model.momentum_backbone, run.model.momentum_projector)
    assert torch.equal(last, weights.momentum[-1]), "nothing moves after the last forward"


def test_papers_coefficients_by_default(make_cfg):
    run = start(make_cfg, data__max_images=64, max_epochs=2)
    logged: list[float] = []

    def take(*_: Any) -> None:
        logged.append(float(run.trainer.callback_metrics["tau"]))

    run.model.backbone.register_forward_pre_hook(take)
    run.trainer.fit(run.model, fixed_batches(run))
    assert (run.model.cfg.momentum.base_tau, run.model.cfg.momentum.final_tau) == (0.996, 1.0)
    assert logged == pytest.approx([cosine(step, 8, 0.996) for step in range(8)], abs=1e-7)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_resumed_run_ends_where_the_straight_one_does(make_cfg, accumulated: int):
    def epochs(resume: Path | None) -> tuple[Pretraining, dict[str, torch.Tensor]]:
        run = start(
            make_cfg,
            data__max_images=16 * 2 * accumulated,
            max_epochs=2,
            accumulate_grad_batches=accumulated,
            momentum={"base_tau": 0.5},
            checkpoint__keep_prev=True,
        )
        run.trainer.fit(run.model, fixed_batches(run), ckpt_path=resume, weights_only=True)
        assert run.trainer.global_step == 4
        return run, run.model.state_dict()

    run, straight = epochs(None)
    half = Path(run.folder) / "checkpoints" / "epoch=0.ckpt"
    saved = torch.load(half, weights_only=True)
    assert saved["global_step"] == 2
    changed = [key for key, value in straight.items() if not torch.equal(value, saved["state_dict"][key])]
    assert any(key.startswith("momentum_backbone.") for key in changed)
    resumed = epochs(half)[1]
    assert all(torch.equal(resumed[key], value) for key, value in straight.items())


def test_momentum_has_batch_statistics_of_its_own(make_cfg):
    run = start(make_cfg, data__max_images=32, momentum={"base_tau": 0.5})
    means: dict[str, list[torch.Tensor]] = {"backbone": [], "momentum_backbone": []}
    for name, seen in means.items():
        run.model.get_submodule(name).bn1.register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(args[0].detach().mean((0, 2, 3)))
        )
    run.trainer.fit(run.model, fixed_batches(run))
    for name, (first, second) in means.items():
        found = run.model.get_submodule(name).bn1.running_mean
        # 0.1 is BatchNorm's own momentum, from zeros; an average over the networks would mix the two
        torch.testing.assert_close(found, 0.9 * 0.1 * first + 0.1 * second)
    assert not torch.allclose(means["backbone"][0], means["momentum_backbone"][0])
    own, other = run.model.momentum_projector[1].running_mean, run.model.projector[1].running_mean
    assert own.abs().max() > 0
    assert not torch.allclose(own, other)


def test_no_gradient_and_no_optimizer_for_the_momentum_network(make_cfg):
    run = start(make_cfg)
    outputs: list[torch.Tensor] = []
    run.model.momentum_projector.register_forward_hook(lambda module, args, out: outputs.append(out))
    run.trainer.fit(run.model, fixed_batches(run))
    assert not outputs[0].requires_grad
    assert outputs[0].grad_fn is None
    momentum = {name: p for name, p in run.model.named_parameters() if name.startswith("momentum_")}
    assert not any(p.requires_grad or p.grad is not None for p in momentum.values())
    trained = {id(p) for group in run.trainer.optimizers[0].param_groups for p in group["params"]}
    assert not trained & {id(p) for p in momentum.values()}
    assert trained == {id(p) for name, p in run.model.named_parameters() if name not in momentum}


def test_names_in_the_state_dict(make_cfg):
    model = start(make_cfg).model
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {"backbone", "projector", "classifier", "momentum_backbone", "momentum_projector"}


def test_momentum_network_trains_the_same_stem_and_stays_in_train_mode(make_cfg):
    run = start(make_cfg)
    modes: list[bool] = []
    run.model.momentum_backbone.bn1.register_forward_pre_hook(
        lambda module, args: modes.append(module.training)
    )
    assert run.model.momentum_backbone.conv1.kernel_size == (3, 3)
    run.trainer.fit(run.model, fixed_batches(run), run.val)
    assert modes == [True], "one step, and none in validation, which is the online network's"


@pytest.mark.parametrize("sizes", [TWO, SIX])
def test_online_knn_and_classifier_see_detached_online_features(make_cfg, sizes: tuple[int, ...]):
    run = start(make_cfg, sizes, knn_eval={"enabled": True, "k": 3, "distance_func": "euclidean"})
    trained: list[torch.Tensor] = []
    run.model.knn.register_forward_pre_hook(
        lambda module, args, kwargs: trained.append(kwargs.get("train_features")), with_kwargs=True
    )
    batches = fixed_batches(run)
    view = next(iter(batches))[1][1].to(memory_format=torch.channels_last)
    with torch.no_grad():
        (expected,) = embed(run.model.backbone, torch.nn.Identity(), [view])
    given = record_inputs(run.model.classifier)
    run.trainer.num_sanity_val_steps = 0
    run.trainer.fit(run.model, batches, run.val)
    (features,) = [x for x in trained if x is not None]
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(given[0], expected)
    assert not features.requires_grad
    assert 0 <= float(run.trainer.callback_metrics["val_knn_acc1"]) <= 100


@pytest.mark.parametrize(
    ("momentum", "message"),
    [
        ({"classifier": True}, "momentum.classifier: found true, accepted by intl_ema: false"),
        ({"base_tau": 1.5}, "momentum.base_tau: found 1.5, accepted: a number from 0 to 1"),
        ({"final_tau": "one"}, "momentum.final_tau: found 'one'"),
        ({"base_tau": True}, "momentum.base_tau: found True"),
    ],
)
def test_mistakes(make_cfg, momentum: dict, message: str):
    cfg = pretrain_settings(make_cfg(method="intl_ema", momentum=momentum))
    cfg.data.num_classes = 10
    with pytest.raises(UserError, match=message) as caught:
        INTLEMA(cfg)
    assert "\n" not in str(caught.value)


def test_intl_and_intl_ema_start_from_the_same_weights(make_cfg):
    plain = prepare(make_cfg(method="intl")).model.state_dict()
    ema = prepare(make_cfg(method="intl_ema")).model.state_dict()
    assert all(torch.equal(ema[key], value) for key, value in plain.items())


def test_both_names_are_registered():
    from solo.methods import METHODS

    assert METHODS["intl_ema"] is host.METHODS["intl_ema"] is INTLEMA


def test_fp32_loss_and_weights_under_bf16(make_cfg):
    run = start(make_cfg, precision="bf16-mixed")
    dtypes: list[torch.dtype] = []
    run.model.loss.register_forward_hook(lambda module, args, out: dtypes.append(out.loss.dtype))
    run.trainer.fit(run.model, fixed_batches(run))
    assert dtypes == [torch.float32]
    assert {p.dtype for p in run.model.momentum_backbone.parameters()} == {torch.float32}
