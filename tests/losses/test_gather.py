"""Claims about `INTLLoss(gather_distributed=True)` on 2 and 3 gloo processes, against one, in float64:

1. every rank computes the one-process loss of the global batch, parts included (1e-12);
2. the gradient of a rank's embeddings is W times the one-process value (1e-12);
3. that holds for views only and with a target, for both axes, and for one image per rank;
4. beta's rule reads the global batch;
5. unequal batch sizes, widths, numbers of views or precisions, and input that is wrong on one rank only,
   raise on every rank, naming them, and the group goes on working;
6. non-finite values on one rank raise on every rank;
7. a rank comes to hold n m d numbers for n views of m images in all, and m d for a target, and n m d are
   summed over ranks on the way back (docs/scaling.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from solo_intl.losses import intl_loss_func

ROOT = Path(__file__).resolve().parents[2]


def case(world: int, m: int = 6, *, views: int = 2, target: bool = False, **settings: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(world * 100 + views)
    sizes = settings.pop("sizes", [m] * world)
    drawn = [torch.randn(sum(sizes), 20, generator=generator, dtype=torch.float64) for _ in range(views + 1)]
    last = drawn.pop()
    return {
        "views": drawn,
        "target": last if target else None,
        "sizes": sizes,
        "counts": [views] * world,
        "beta": None,
        "axis": "channel",
        **settings,
    }


def equal_cases(world: int) -> dict[str, dict[str, Any]]:
    return {
        "two views": case(world),
        "three views, batch axis": case(world, views=3, axis="batch"),
        "target": case(world, views=2, target=True, beta=0.3),
        "one view and a target": case(world, views=1, target=True),
        "one image per rank": case(world, 1, beta=0.3),
    }


def broken_cases(world: int) -> dict[str, dict[str, Any]]:
    infinite = case(world)
    infinite["views"][1][0, :2] = torch.inf
    return {
        "unequal sizes": case(world, sizes=[6] * (world - 1) + [5]),
        "unequal counts": case(world, views=3, counts=[3] * (world - 1) + [2]),
        "not finite": infinite,
        **{name: case(world, spoiled=name) for name in SPOILED},
    }


# name: (what every rank is told of the last one, what the last one is told beyond that)
WRONG = "wrong input (its own error says which)"
SPOILED = {
    "one view": (WRONG, "views must hold at least 2 tensor(s) without a target; found 1"),
    "no view": (WRONG, "views must hold at least 2 tensor(s) without a target; found 0"),
    "no list": (WRONG, "views must be a list or tuple of tensors [m, d]; found str"),
    "three dimensions": (WRONG, "view 1 must have 2 dimensions [m, d]; found shape (1, 6, 20)"),
    "views of two shapes": (WRONG, "view 1 must have view 0's shape (6, 20); found (6, 19)"),
    "another width": ("batch size 6, d = 19, 2 view(s) in float64", ""),
    "another precision": ("batch size 6, d = 20, 2 view(s) in float32", ""),
    "integers": (WRONG, "view 0 must be a floating-point tensor [m, d]; found dtype torch.int64"),
}


@pytest.fixture(scope="module", params=[2, 3])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, list[dict[str, Any]]]:
    world = request.param
    folder = tmp_path_factory.mktemp(f"world{world}")
    # The good cases last: they also show that the errors leave the group in step.
    torch.save({**broken_cases(world), **equal_cases(world)}, folder / "cases.pt")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    worker = Path(__file__).with_name("gather_worker.py")
    subprocess.run([sys.executable, worker, str(world), folder], env=env, check=True, timeout=100)
    return world, [torch.load(folder / f"rank{rank}.pt") for rank in range(world)]


@pytest.mark.parametrize("name", list(equal_cases(2)))
def test_equals_one_process(run: tuple[int, list[dict[str, Any]]], name: str) -> None:
    world, results = run
    given = equal_cases(world)[name]
    views = [z.requires_grad_() for z in given["views"]]
    expected = intl_loss_func(views, given["target"], beta=given["beta"], axis=given["axis"])
    expected.loss.backward()
    for rank, result in enumerate(results):
        parts, gradients, _ = result[name]
        for part, expected_part in zip(parts, expected, strict=True):
            torch.testing.assert_close(part, expected_part.detach(), rtol=1e-12, atol=1e-12)
        for gradient, view in zip(gradients, views, strict=True):
            assert view.grad is not None
            local = view.grad.split(given["sizes"])[rank]
            torch.testing.assert_close(gradient, world * local, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name, views, with_target", [("two views", 2, 0), ("target", 2, 1)])
def test_numbers_that_travel(
    run: tuple[int, list[dict[str, Any]]], name: str, views: int, with_target: int
) -> None:
    world, results = run
    one = world * 6 * 20
    for result in results:
        assert result[name][2] == {"all_gather": (views + with_target) * one, "all_reduce": views * one}


@pytest.mark.parametrize(
    "name, found",
    [
        ("unequal sizes", ("rank 0: batch size 6, d = 20, 2 view(s)", "batch size 5, d = 20, 2 view(s)")),
        ("unequal counts", ("rank 0: batch size 6, d = 20, 3 view(s)", "batch size 6, d = 20, 2 view(s)")),
    ],
)
def test_unequal_ranks_raise_everywhere(
    run: tuple[int, list[dict[str, Any]]], name: str, found: tuple[str, str]
) -> None:
    world, results = run
    for result in results:
        message = result[name]
        assert message.startswith(
            "gather_distributed needs the same batch size and views on every rank; found "
        )
        assert found[0] in message
        assert f"rank {world - 1}: {found[1]}" in message


@pytest.mark.parametrize("name", list(SPOILED))
def test_what_is_wrong_on_one_rank_raises_everywhere(
    run: tuple[int, list[dict[str, Any]]], name: str
) -> None:
    world, results = run
    told, own = SPOILED[name]
    for result in results:
        assert "rank 0: batch size 6, d = 20, 2 view(s) in float64" in result[name]
        assert f"rank {world - 1}: {told}" in result[name]
    assert own in results[-1][name]


def test_non_finite_values_raise_everywhere(run: tuple[int, list[dict[str, Any]]]) -> None:
    world, results = run
    assert {result["not finite"] for result in results} == {
        f"view 1 has 2 non-finite values of {world * 6 * 20}"
    }
