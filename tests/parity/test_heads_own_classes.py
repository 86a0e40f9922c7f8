"""Claim: on solo-learn HEAD this host trains each of the 19 methods as HEAD's own class does, run bare in the
same process: same losses at every step, same sizes of every part of the model afterwards. HEAD's class has
its own CIFAR stem, ours the one that `host/stem.py` installs."""

from __future__ import annotations

import common_steps
import pytest
import torch
from host_steps import SOLO_STEM, figures

from solo_intl import host

METHODS = sorted({**common_steps.LEGACY_METHODS, **common_steps.HEAD_ONLY_METHODS})
TOLERANCE = 1e-6

pytestmark = pytest.mark.skipif(
    host.HOST.generation != host.HEAD,
    reason="solo-learn HEAD is not the host: its own classes, which take a cfg, are missing",
)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("default_dtype", [torch.float32], indirect=True, ids=["float32"])
@pytest.mark.usefixtures("default_dtype")
def test_same_as_heads_own_class(name: str):
    bare, adapted = host.SOLO_METHODS[name], host.METHODS[name]
    assert adapted is not bare
    assert bare.__module__.startswith("solo.")
    theirs, ours = figures(bare, name, dataset=SOLO_STEM), figures(adapted, name)
    for part in ("losses", "mean_sizes", "taus"):
        assert ours[part] == pytest.approx(theirs[part], rel=TOLERANCE, abs=TOLERANCE, nan_ok=True)


def test_every_method_of_head_is_compared():
    of_head = {name for name in host.METHODS if host.SOLO_METHODS[name].__module__.startswith("solo.")}
    assert set(METHODS) == of_head
