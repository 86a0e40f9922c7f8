"""Claims: the probe is the stated protocol to 1e-5, gives on features computed once the layer and the
accuracy that sending every batch through the frozen backbone gives, repeats itself by seed, leaves the global
generators alone, learns what a linear classifier can, and reports the last epoch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import TensorDataset

from solo_intl.errors import UserError
from solo_intl.evaluation.features import Features, extract_features
from solo_intl.evaluation.linear_probe import adam_probe, probe_batch

DIGITS = load_digits()


def digits(start: int, stop: int) -> Features:
    x = torch.from_numpy(DIGITS.data[start:stop]).float() / 16
    return Features(
        x, torch.from_numpy(DIGITS.target[start:stop]).long(), [str(i) for i in range(start, stop)]
    )


TRAIN, TEST = digits(0, 1400), digits(1400, 1797)


def transcription(
    x: torch.Tensor, y: torch.Tensor, epochs: int, batch_size: int, seed: int
) -> tuple[nn.Linear, float]:
    """The protocol written out; returns the layer and the rate of the last epoch."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(x.shape[1], 10)
    bound = 1 / math.sqrt(x.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.empty(10, x.shape[1]).uniform_(-bound, bound, generator=generator))
        layer.bias.copy_(torch.empty(10).uniform_(-bound, bound, generator=generator))
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=(1e-6 / 1e-2) ** (1 / (epochs - 1)))
    used = 0.0
    for _ in range(epochs):
        used = optimizer.param_groups[0]["lr"]
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            loss = nn.functional.cross_entropy(layer(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return layer, used


@pytest.mark.parametrize(("epochs", "batch_size"), [(2, 1000), (12, 1000), (7, 333)])
def test_is_the_protocol_written_out(epochs: int, batch_size: int) -> None:
    layer, last_lr = transcription(TRAIN.x, TRAIN.y, epochs, batch_size, seed=3)
    assert last_lr == pytest.approx(1e-6)
    probe = adam_probe(TRAIN, TEST, epochs=epochs, batch_size=batch_size, seed=3)
    torch.testing.assert_close(probe.weight, layer.weight.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(probe.bias, layer.bias.detach(), atol=1e-5, rtol=0)
    scores = layer(TEST.x)
    assert probe.metrics["top1"] == pytest.approx(
        100 * (scores.argmax(1) == TEST.y).double().mean().item(), abs=0.3
    )
    loss = nn.functional.cross_entropy(layer(TRAIN.x), TRAIN.y).item()
    assert probe.metrics["train_loss"] == pytest.approx(loss, rel=1e-4)


def test_features_once_or_every_epoch_is_the_same() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
    )
    backbone(TRAIN.x.view(-1, 1, 8, 8))  # statistics for evaluation mode
    images = {part: data.x.view(-1, 1, 8, 8) for part, data in (("train", TRAIN), ("test", TEST))}
    sets = {
        "train": extract_features(backbone, TensorDataset(images["train"], TRAIN.y)),
        "test": extract_features(backbone, TensorDataset(images["test"], TEST.y)),
    }
    probe = adam_probe(sets["train"], sets["test"], epochs=15, batch_size=200, seed=3)

    class Through:
        """Images that go through the backbone whenever a batch of them is taken."""

        shape = sets["train"].x.shape

        def __len__(self) -> int:
            return len(images["train"])

        def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return backbone.eval()(images["train"][rows])

    layer, _ = transcription(Through(), TRAIN.y, epochs=15, batch_size=200, seed=3)
    torch.testing.assert_close(probe.weight, layer.weight.detach(), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        predicted = layer(backbone.eval()(images["test"])).argmax(dim=1)
    assert probe.metrics["top1"] == 100 * float((predicted == TEST.y).double().mean()) > 80


def test_each_epoch_runs_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    adam_probe(TRAIN, TEST, epochs=5, batch_size=700)
    expected = [1e-2 * 1e-4 ** (epoch / 4) for epoch in range(5) for _ in range(2)]
    assert rates == pytest.approx(expected)


def test_defaults_are_the_papers() -> None:
    assert adam_probe.__kwdefaults__ is not None
    paper = {"epochs": 500, "lr": 1e-2, "final_lr": 1e-6, "weight_decay": 5e-6, "batch_size": 1000}
    assert {key: adam_probe.__kwdefaults__[key] for key in paper} == paper


def test_few_images_get_as_many_steps_an_epoch_as_cifar() -> None:
    sizes = {10: 32, 1_649: 32, 1_650: 33, 10_000: 200, 49_999: 999, 50_000: 1000, 1_281_167: 1000}
    assert {images: probe_batch(images) for images in sizes} == sizes
    probe = adam_probe(TRAIN, TEST, epochs=2, batch_size="auto")
    assert probe.metrics["batch_size"] == 32
    assert torch.equal(probe.weight, adam_probe(TRAIN, TEST, epochs=2, batch_size=32).weight)


def test_learns_what_logistic_regression_learns() -> None:
    metrics = adam_probe(TRAIN, TEST, epochs=60, lr=0.1, batch_size=100).metrics
    reference = LogisticRegression(max_iter=2000, C=100).fit(TRAIN.x.numpy(), TRAIN.y.numpy())
    assert metrics["top1"] == pytest.approx(100 * reference.score(TEST.x.numpy(), TEST.y.numpy()), abs=2.0)
    assert metrics["train_top1"] > 98
    assert metrics["top1"] < metrics["top5"] <= 100


def test_same_seed_same_numbers_other_seed_others() -> None:
    first, again, other = (adam_probe(TRAIN, TEST, epochs=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.weight, again.weight)
    assert first.metrics == again.metrics
    assert not torch.equal(first.weight, other.weight)


def test_global_generators_are_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = adam_probe(TRAIN, TEST, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert torch.equal(first.weight, adam_probe(TRAIN, TEST, epochs=2).weight)


def test_autocast_and_no_grad_of_the_caller_are_ignored() -> None:
    plain = adam_probe(TRAIN, TEST, epochs=2)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        inside = adam_probe(TRAIN, TEST, epochs=2)
    assert torch.equal(plain.weight, inside.weight)
    assert plain.metrics == inside.metrics


def test_metrics_are_of_the_last_epoch_and_of_the_returned_layer() -> None:
    # a rate that grows to a wild one: earlier epochs are better than the last
    probe = adam_probe(TRAIN, TEST, epochs=20, lr=1e-2, final_lr=50.0)
    scores = TEST.x @ probe.weight.T + probe.bias
    last = 100 * (scores.argmax(dim=1) == TEST.y).double().mean().item()
    assert probe.metrics["top1"] == pytest.approx(last)
    assert last < adam_probe(TRAIN, TEST, epochs=10, lr=1e-2, final_lr=0.7).metrics["top1"] - 1


def test_progress_is_told_every_epoch() -> None:
    seen: list[tuple[int, int]] = []
    adam_probe(TRAIN, TEST, epochs=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_epoch_and_few_classes() -> None:
    few = Features(torch.eye(3), torch.arange(3), list("abc"))
    metrics = adam_probe(few, few, epochs=1).metrics
    assert metrics["top5"] is None
    assert metrics["num_classes"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "^max_epochs: found 0, accepted: an integer of at least 1$"),
        ({"epochs": True}, "^max_epochs: found True, accepted: an integer"),
        ({"epochs": "500"}, "^max_epochs: found '500', accepted: an integer"),
        ({"epochs": 2.5}, "^max_epochs: found 2.5, accepted: an integer"),
        ({"batch_size": 0}, "^optimizer.batch_size: found 0, accepted: an integer of at least 1, or auto$"),
        ({"batch_size": "all"}, "^optimizer.batch_size: found 'all', accepted: .* at least 1, or auto$"),
        ({"batch_size": True}, "^optimizer.batch_size: found True"),
        ({"lr": 0.0}, "^optimizer.lr: found 0.0, accepted: a number above 0$"),
        ({"lr": "1e-2"}, "^optimizer.lr: found '1e-2', accepted: a number above 0$"),
        ({"lr": True}, "^optimizer.lr: found True"),
        ({"lr": math.inf}, "^optimizer.lr: found inf"),
        ({"final_lr": -1.0}, "^optimizer.final_lr: found -1.0"),
        ({"final_lr": 0}, "^optimizer.final_lr: found 0, accepted: a number above 0 .*never reaches 0"),
        ({"final_lr": None}, "^optimizer.final_lr: found None"),
        ({"final_lr": True}, "^optimizer.final_lr: found True"),
        ({"weight_decay": -1.0}, "^optimizer.weight_decay: found -1.0, accepted: a number of 0 or more$"),
        ({"weight_decay": "x"}, "^optimizer.weight_decay: found 'x'"),
        ({"weight_decay": math.nan}, "^optimizer.weight_decay: found nan"),
        ({"epochs": 3, "lr": 1e37, "final_lr": 1e37}, "^optimizer.lr: the linear layer diverged"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        adam_probe(TRAIN, TEST, **settings)
    assert "\n" not in str(error.value)


def test_wrong_features_are_one_line() -> None:
    unlabelled = Features(TEST.x, torch.full_like(TEST.y, -1), TEST.names)
    with pytest.raises(UserError, match="test set: 397 of 397 images have no label"):
        adam_probe(TRAIN, unlabelled, epochs=1)
    broken = Features(TRAIN.x.clone().index_fill_(0, torch.tensor([4]), math.nan), TRAIN.y, TRAIN.names)
    with pytest.raises(UserError, match=r"train set: features of 1 of 1400 images are NaN .*\(first: 4\)"):
        adam_probe(broken, TEST, epochs=1)
    narrow = Features(TEST.x[:, :9], TEST.y, TEST.names)
    with pytest.raises(UserError, match="test set: found 9 features per image; accepted: 64"):
        adam_probe(TRAIN, narrow, epochs=1)
    empty = Features(TEST.x[:0], TEST.y[:0], [])
    with pytest.raises(UserError, match="test set: found no images"):
        adam_probe(TRAIN, empty, epochs=1)
