"""Claims: the schedule is linear from its start and cosine to its floor, exactly, and survives a resume;
LARS takes the closed-form step (1.0.2's own is plain SGD); decay is kept off one-dimensional parameters;
static groups keep their rate; optimizer state holds nothing that ``weights_only`` refuses."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn

from solo_intl.errors import UserError
from solo_intl.host.optim import OptimSettings, make_optimizer, make_schedule, split_decay


def settings(**overrides: object) -> OptimSettings:
    values: dict = {"name": "sgd", "lr": 0.3, "weight_decay": 0.0, "min_lr": 3e-4, "warmup_epochs": 2}
    return OptimSettings(**(values | overrides))


def rates(groups: list[dict], config: OptimSettings, steps: int, epochs: int) -> list[list[float]]:
    optimizer = make_optimizer(groups, config)
    schedule = make_schedule(optimizer, config, steps, epochs)
    assert schedule is not None
    out = []
    for _ in range(steps + 1):
        out.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule["scheduler"].step()
    return out


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(1)))


def test_schedule_follows_the_paper_step_by_step():
    epochs, per_epoch = 10, 5
    total, warmup = epochs * per_epoch, 2 * per_epoch
    got = [r[0] for r in rates([{"params": [parameter(3)]}], settings(), total, epochs)]
    for step, rate in enumerate(got):
        if step < warmup:
            expected = 0.3 * step / warmup
        else:
            q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            expected = 0.3 * q + 3e-4 * (1 - q)
        assert rate == pytest.approx(expected, abs=1e-12), step
    assert got[0] == 0.0
    assert got[-1] == pytest.approx(3e-4)


def test_static_group_keeps_its_rate_and_own_lr_group_has_its_own_peak():
    groups = [
        {"params": [parameter(2)]},
        {"params": [parameter(2)], "static_lr": True},
        {"params": [parameter(2)], "lr": 0.1},
    ]
    got = rates(groups, settings(), 20, 10)
    assert {r[1] for r in got} == {0.3}
    assert max(r[2] for r in got) == pytest.approx(0.1)
    assert got[-1][2] == pytest.approx(3e-4)


def test_resumed_schedule_continues_exactly():
    weight = parameter(3)
    config = settings()
    optimizer = make_optimizer([{"params": [weight]}], config)
    schedule = make_schedule(optimizer, config, 20, 10)["scheduler"]
    for _ in range(7):
        optimizer.step()
        schedule.step()
    buffer = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    again = make_optimizer([{"params": [weight]}], config)
    resumed = make_schedule(again, config, 20, 10)["scheduler"]
    again.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["schedule"])
    for _ in range(13):
        assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        for pair in ((optimizer, schedule), (again, resumed)):
            pair[0].step()
            pair[1].step()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_lars_matches_its_closed_form(clip: bool, decay: float):
    eta, lr, momentum = 0.02, 0.3, 0.9
    weight, bias = parameter(4, 3), parameter(4)
    start, bias_start = weight.detach().clone(), bias.detach().clone()
    kwargs = {"momentum": momentum, "eta": eta, "clip_lr": clip, "exclude_bias_n_norm": True}
    config = settings(name="lars", lr=lr, weight_decay=decay, kwargs=kwargs)
    optimizer = make_optimizer([{"params": [weight, bias]}], config)
    generator = torch.Generator().manual_seed(2)
    velocity, expected, expected_bias = torch.zeros(4, 3), start.clone(), bias_start.clone()
    velocity_bias = torch.zeros(4)
    for _ in range(3):
        gradient, bias_gradient = torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)

        def closure(g: torch.Tensor = gradient, b: torch.Tensor = bias_gradient) -> torch.Tensor:
            # gradients appear only here, as under Lightning: 1.0.2 scaled them before this call
            weight.grad, bias.grad = g.clone(), b.clone()
            return torch.zeros(())

        optimizer.step(closure)
        ratio = eta * expected.norm() / (gradient.norm() + decay * expected.norm() + 1e-8)
        if clip:
            ratio = torch.clamp(ratio / lr, max=1)
        velocity = momentum * velocity + ratio * (gradient + decay * expected)
        velocity_bias = momentum * velocity_bias + bias_gradient
        expected = expected - lr * velocity
        expected_bias = expected_bias - lr * velocity_bias
    torch.testing.assert_close(weight.detach(), expected)
    torch.testing.assert_close(bias.detach(), expected_bias)


def test_split_decay_separates_one_dimensional_parameters():
    groups = split_decay(
        [{"name": "backbone", "params": [parameter(2, 2), parameter(2)], "weight_decay": 0.1}]
    )
    assert [(g["name"], g["weight_decay"], len(g["params"])) for g in groups] == [
        ("backbone", 0.1, 1),
        ("backbone_no_decay", 0.0, 1),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"name": "sdg"}, "optimizer.name: found 'sdg'"),
        ({"kwargs": {"momentun": 0.9}}, "optimizer.kwargs: found"),
        ({"scheduler": "cosin"}, "scheduler.name: found 'cosin'"),
        ({"interval": "batch"}, "scheduler.interval: found 'batch'"),
        ({"scheduler": "step"}, "scheduler.lr_decay_steps: found none"),
    ],
)
def test_mistakes_are_named(overrides: dict, message: str):
    with pytest.raises(UserError, match=message):
        config = settings(**overrides)
        make_schedule(make_optimizer([{"params": [parameter(2)]}], config), config, 10, 2)


def test_nameless_groups_get_names_of_their_own_under_lars():
    # Lightning's LearningRateMonitor refuses two groups of one name
    kwargs = {"momentum": 0.9, "exclude_bias_n_norm": True}
    groups = [{"params": [parameter(2, 2), parameter(2)]}, {"params": [parameter(2, 2)]}]
    optimizer = make_optimizer(groups, settings(name="lars", kwargs=kwargs))
    names = [group["name"] for group in optimizer.param_groups]
    assert len(names) == len(set(names)) == 3
