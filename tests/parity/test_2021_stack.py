"""Claims, against figures recorded from solo-learn 1.0.2 on its own stack (Python 3.8, torch 1.9.1,
Lightning 1.4.7; `record_2021.py` records, `common_steps.py` has weights, batches and settings of both sides):

1. each of the 14 methods returns the same total loss at every optimizer step on this host, in float64, and
   leaves every part of the model (momentum networks, queues, prototypes, classifiers) at the same size; the
   stem is the one that `host/stem.py` installs, which has to be solo-learn's CIFAR stem;
2. one difference has a name and is no larger than described: Lightning 1.4 counts a step after
   `on_train_batch_end`, Lightning 2 before it, and solo-learn moves its momentum networks when the count has
   grown. On its own stack 1.0.2 therefore makes no update after the first step, and the schedule of the
   coefficient lags one step behind. HEAD, on Lightning 2, updates after every step, and so does this host.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import common_steps
import pytest
import torch
from host_steps import SOLO_STEM, figures

from solo_intl import host

RECORD: dict[str, Any] = json.loads(Path(__file__).with_name("stack_2021.json").read_text())
TOLERANCE = 1e-8

pytestmark = [
    pytest.mark.skipif(
        host.HOST.generation != host.LEGACY,
        reason="solo-learn 1.0.2 is not the host: its methods, which the record is of, are missing",
    ),
    pytest.mark.parametrize("default_dtype", [torch.float64], indirect=True, ids=["float64"]),
    pytest.mark.usefixtures("default_dtype"),
]


def counting_as_lightning_1(method: type) -> type:
    """The class itself, with the update after the first step left out."""

    class OneUpdateLess(method):
        def on_train_start(self) -> None:
            super().on_train_start()
            self.last_step = 1

    return OneUpdateLess


def close(values: Any) -> Any:
    return pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE)


def test_every_method_of_1_0_2_is_recorded():
    of_solo = {name for name in host.METHODS if host.SOLO_METHODS[name].__module__.startswith("solo.")}
    assert set(RECORD["methods"]) == set(common_steps.LEGACY_METHODS) == of_solo


@pytest.mark.parametrize("name", sorted(common_steps.LEGACY_METHODS))
def test_same_losses_and_weights_as_on_the_2021_stack(name: str):
    method = host.METHODS[name]
    ours = figures(counting_as_lightning_1(method) if name in common_steps.WITH_MOMENTUM else method, name)
    theirs = RECORD["methods"][name]
    assert ours["losses"] == close(theirs["losses"])
    assert ours["mean_sizes"] == close(theirs["mean_sizes"])
    assert ours["taus"] == close(theirs["taus"])


def test_the_2021_stack_leaves_out_the_first_momentum_update():
    name = common_steps.SCHEDULED
    ours = figures(host.METHODS[name], name, common_steps.RISING_TAU, SOLO_STEM)
    theirs = RECORD["rising_tau"][name]
    assert ours["losses"][0] == close(theirs["losses"][0])
    assert abs(ours["losses"][1] - theirs["losses"][1]) > 1e-3
    base, final = common_steps.RISING_TAU
    steps = range(common_steps.BATCHES + 1)
    schedule = [final - (final - base) * (math.cos(math.pi * k / len(steps[1:])) + 1) / 2 for k in steps]
    assert ours["taus"] == close(schedule[1:])
    assert theirs["taus"] == close(schedule[:-1])
