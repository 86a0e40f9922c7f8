"""Claims about training INTL and INTL-EMA on 2 and 3 gloo processes under Lightning's DDP, against one
process on the joined batches, with two views and with multi-crop (1e-6 in float32, 1e-12 in float64):

1. every process has the loss of the joined batch, with beta by the rule for its size;
2. the gradient of its embeddings is W times the one-process value;
3. the gradients of the parameters after DDP are the one-process values, the online classifier's included;
4. after two optimizer steps all weights are those of the one process, the momentum network's included, and
   identical on all processes;
5. DDP's buckets hold the online network and the classifier, and nothing of the momentum network;
6. processes with different batch sizes all stop with one line that says what each one holds.

SyncBatchNorm has no CPU implementation, so networks with BatchNorm are not compared here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("equality_worker.py")
TOLERANCE = {"32-true": 1e-6, "64-true": 1e-12}
CASES = [
    (method, views, precision)
    for method in ("intl", "intl_ema")
    for views in ("two views", "multi-crop")
    for precision in TOLERANCE
]
Runs = tuple[dict[Any, Any], list[dict[Any, Any]]]


@pytest.fixture(scope="module", params=[2, 3])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """(what the single process saw, what each of W processes saw), for every case."""
    world = request.param
    folder = tmp_path_factory.mktemp(f"world{world}")
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    subprocess.run([sys.executable, WORKER, str(world), folder], env=env, check=True, timeout=1200)
    ranks = [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
    return torch.load(folder / "1-0.pt"), ranks


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Equal up to ``tolerance`` of the largest entry; in fp32, whose own rounding is more, of at least 1."""
    assert found.dtype == expected.dtype
    scale = expected.abs().max().item()
    assert scale > 0
    scale = max(scale, 1) if expected.dtype == torch.float32 else scale
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_loss(runs: Runs, case: tuple[str, str, str]) -> None:
    one, ranks = runs
    for rank in ranks:
        for found, expected in zip(rank[case]["losses"], one[case]["losses"], strict=True):
            assert_close(found, expected, TOLERANCE[case[2]])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_embedding_gradients(runs: Runs, case: tuple[str, str, str]) -> None:
    one, ranks = runs
    whole = one[case]["embeddings"]
    online_views = {"two views": 2, "multi-crop": 4}[case[1]] - (case[0] == "intl_ema")
    assert len(whole) == 2 * online_views
    for r, rank in enumerate(ranks):
        assert rank[case]["embeddings"].keys() == whole.keys()
        for number, found in rank[case]["embeddings"].items():
            expected = len(ranks) * whole[number].chunk(len(ranks))[r]
            assert_close(found, expected, TOLERANCE[case[2]])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_parameter_gradients(runs: Runs, case: tuple[str, str, str]) -> None:
    one, ranks = runs
    for rank in ranks:
        for found, expected in zip(rank[case]["parameters"], one[case]["parameters"], strict=True):
            assert {name.split(".")[0] for name in found} == {"backbone", "projector", "classifier"}
            for name, gradient in expected.items():
                assert_close(found[name], gradient, TOLERANCE[case[2]])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_weights_after_two_steps(runs: Runs, case: tuple[str, str, str]) -> None:
    one, ranks = runs
    first = ranks[0][case]["state"]
    for name, expected in one[case]["state"].items():
        assert_close(first[name], expected, TOLERANCE[case[2]])
        assert all(torch.equal(rank[case]["state"][name], first[name]) for rank in ranks)
    momentum = [name for name in first if name.startswith("momentum_")]
    assert bool(momentum) == (case[0] == "intl_ema")
    for name in momentum:
        assert not torch.equal(first[name], first[name.removeprefix("momentum_")])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_buckets_hold_the_online_network_alone(runs: Runs, case: tuple[str, str, str]) -> None:
    for rank in runs[1]:
        state = rank[case]["state"]
        online = sum(value.numel() for name, value in state.items() if not name.startswith("momentum_"))
        assert rank[case]["bucketed"] == online


@pytest.mark.parametrize("method", ["intl", "intl_ema"])
def test_unequal_batches_stop_every_process(runs: Runs, method: str) -> None:
    ranks = runs[1]
    for rank in ranks:
        message = rank["unequal", method, "two views", "32-true"]
        assert message.startswith("INTL, step 0: gather_distributed needs the same batch size and views")
        assert "rank 0: batch size 20, d = 64" in message
        assert f"rank {len(ranks) - 1}: batch size 19, d = 64" in message
        assert "\n" not in message
