"""Claims about how measurements decide, on measurements made up for it:

1. each rule of toy, instability and ablation says yes to what satisfies it and no to what does not, and a toy
   run that broke satisfies none; every method and size of the instability is counted;
2. the theory's measurements say no where the package breaks a statement, NaN included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from solo_intl.experiments.analysis import theory
from solo_intl.experiments.analysis.ablation_report import ablation_claims
from solo_intl.experiments.analysis.claims import Claim
from solo_intl.experiments.analysis.instability import METHODS
from solo_intl.experiments.analysis.instability_report import instability_claims
from solo_intl.experiments.analysis.settings import read_settings
from solo_intl.experiments.analysis.toy_report import toy_claims

Runs = dict[Any, list[dict[str, Any]]]


def refused(claims: list[Claim]) -> set[str]:
    return {claim.name for claim in claims if not claim.holds}


def toy_run(larger: float, smaller: float, broke_at: int | None = None) -> dict[str, Any]:
    """Output of variance 2 at first, then of these eigenvalues."""
    return {"output": [[1.0, 1.0], *[[larger, smaller]] * 5], "broke_at": broke_at}


def toy_runs() -> Runs:
    """Two seeds of which all claims hold."""
    ends = {
        ("IterNorm T=5", "well"): (1, 1),
        ("IterNorm T=5", "ill"): (1, 1e-3),
        ("INTL beta=1", "well"): (1, 1),
        ("INTL beta=1", "ill"): (1, 0.6),
        ("power p=0.5", "well"): (1, 1),
        ("power p=0.5", "ill"): (1, 1),
        ("power p=0.3", "well"): (0.5, 0.5),
        ("power p=0.3", "ill"): (0.5, 0.5),
    }
    return {key: [toy_run(*pair) for _ in range(2)] for key, pair in ends.items()}


def test_toy() -> None:
    claims = toy_claims(toy_runs())
    assert {claim.name for claim in claims} == {"iternorm-well", "iternorm-ill", "intl-beta=1", "power"}
    assert not refused(claims)
    hard_alone = {key: seeds for key, seeds in toy_runs().items() if key[0] != "power p=0.3"}
    assert refused(toy_claims(hard_alone)) == {"power"}  # nothing measured of what it says


@pytest.mark.parametrize(
    "key, claim, run",
    [
        (("IterNorm T=5", "well"), "iternorm-well", toy_run(1, 0.8)),
        (("IterNorm T=5", "ill"), "iternorm-ill", toy_run(1, 0.2)),
        (("INTL beta=1", "well"), "intl-beta=1", toy_run(1, 0.4)),
        (("INTL beta=1", "ill"), "intl-beta=1", toy_run(1, 0.4)),
        (("power p=0.5", "ill"), "power", toy_run(1, 0.9)),
        (("power p=0.3", "well"), "power", toy_run(1, 1)),
        (("IterNorm T=5", "ill"), "iternorm-ill", toy_run(1, 1e-3, broke_at=40)),
        (("INTL beta=1", "ill"), "intl-beta=1", toy_run(1, 1, broke_at=40)),
        (("power p=0.3", "ill"), "power", toy_run(0.5, 0.5, broke_at=40)),
    ],
)
def test_one_seed_of_the_toy_decides(key: tuple[str, str], claim: str, run: dict[str, Any]) -> None:
    runs = toy_runs()
    runs[key][1] = run
    claims = toy_claims(runs)
    assert refused(claims) == {claim}
    measured = next(each.measured for each in claims if each.name == claim)
    counts = [(each["satisfy"], each["n"], each["broke"]) for each in measured.values()]
    assert counts.count((1, 2, int(run["broke_at"] is not None))) == 1


def instability_runs(broken: dict[tuple[str, int], list[int]]) -> Runs:
    """Ten runs each, those that broke at these steps first."""
    runs = {}
    for method in METHODS:
        for d in (16, 64, 128, 256):
            steps: list[int | None] = [*broken.get((method, d), [])]
            steps += [None] * (10 - len(steps))
            runs[method, d] = [
                {"broke_at": step, "why": None if step is None else "loss not finite"} for step in steps
            ]
    return runs


def test_instability() -> None:
    settings, _ = read_settings("instability", ["dims=[16,64,128,256]"])  # batch of 128
    as_claimed: dict[tuple[str, int], list[int]] = {}
    for method in ("eigendecomposition", "Cholesky"):
        as_claimed |= {(method, 16): [30], (method, 64): [9, 3, 7], (method, 128): [20] * 10}
        as_claimed[method, 256] = [4, *[0] * 9]

    def refused_with(key: tuple[str, int], steps: list[int]) -> set[str]:
        return refused(instability_claims(instability_runs({**as_claimed, key: steps}), settings))

    claims = instability_claims(instability_runs(as_claimed), settings)
    assert not refused(claims)
    counted = [key for claim in claims for key in claim.measured]
    assert sorted(counted) == sorted(f"{method}, d={d}" for method, d in instability_runs({}))
    half = next(claim for claim in claims if claim.name == "half").measured["eigendecomposition, d=64"]
    assert (half["broke"], half["of"], half["steps"], half["median_step"]) == (3, 10, [3, 7, 9], 7)
    for method in ("eigendecomposition", "Cholesky"):
        assert refused_with((method, 256), [5, *[0] * 9]) == {f"wider-{method}"}
        assert refused_with((method, 256), [0] * 9) == {f"wider-{method}"}
        assert refused_with((method, 128), [0] * 9) == {f"square-{method}"}
        assert refused_with((method, 16), []) == {f"narrower-{method}"}
    for count, holds in ((2, False), (4, True), (5, False)):
        found = refused_with(("eigendecomposition", 64), [0] * count)
        assert found == (set() if holds else {"half"})
    assert refused_with(("Cholesky", 64), []) == {"half-Cholesky"}
    for axis in ("batch", "channel"):
        assert refused_with((f"INTL, {axis}", 256), [19]) == {f"intl-{axis}"}


def ablation_run(equal: int, accuracy: float) -> dict[str, Any]:
    """A spectrum of 10 with some equal eigenvalues and the rest zero, as embedding and output."""
    spectrum = [[0.1] * 10, [1 / equal] * equal + [0.0] * (10 - equal)]
    return {"embedding": spectrum, "output": spectrum, "accuracies": {"knn": accuracy, "linear": accuracy}}


def test_ablation() -> None:
    def refused_of(intl: dict[str, Any], alone: dict[str, Any], plain: dict[str, Any]) -> set[str]:
        runs = {
            "INTL T=5, beta=0.05": [ablation_run(9, 80)],
            "INTL T=1, beta=5": [intl],
            "IterNorm alone T=5": [alone],
            "plain MSE": [plain],
        }
        return refused(ablation_claims(runs, 10))

    intl, alone, plain = ablation_run(6, 80), ablation_run(3, 70), ablation_run(1, 60)
    assert not refused_of(intl, alone, plain)
    assert refused_of(ablation_run(4, 80), alone, plain) == {"spread"}
    assert refused_of(intl, ablation_run(7, 70), plain) == {"iternorm"}
    assert refused_of(intl, alone, ablation_run(2, 60)) == {"plain"}
    assert refused_of(ablation_run(6, 65), alone, plain) == {"accuracy-knn", "accuracy-linear"}
    assert refused_of(intl, alone, ablation_run(1, 85)) == {"accuracy-knn", "accuracy-linear"}


def theory_refused(**changed: float) -> set[str]:
    """Claims refused, with some measurements of the floor changed."""
    settings, _ = read_settings("theory", ["cases=6", "iterations=[1,4]"])
    results = {name: measure() for name, measure in theory.cells(settings).items()}
    results["floor"] |= changed
    return refused(theory.theory_claims(results, settings))


def of_map(change: Callable[[Any, int], Any]) -> Callable[..., Any]:
    return lambda x, *, iterations: change(x, iterations)


MAP = {"theorem-1", "proposition-1", "proposition-2", "concavity"}
THEOREM_2 = {"theorem-2-convex", "theorem-2-minimum"}


@pytest.mark.parametrize(
    "function, broken, expected",
    [
        ("spectral_map", of_map(lambda x, t: x), {"theorem-1", "proposition-2", "concavity"}),
        ("spectral_map", of_map(lambda x, t: -x * x), MAP - {"concavity"}),
        ("spectral_map", of_map(lambda x, t: x * math.nan), MAP),
        ("trace_loss_of", lambda x, u, *, iterations: -x.square().sum(-1), THEOREM_2),
        ("trace_loss_of", lambda x, u, *, iterations: x.sum(-1) * math.nan, THEOREM_2),
        ("trace_loss_floor", lambda n, *, iterations=4, rank=None: float(n), {"floor"}),
        ("trace_loss_floor", lambda n, *, iterations=4, rank=None: 0.0, {"floor"}),
        ("trace_loss_floor", lambda n, *, iterations=4, rank=None: math.nan, {"floor"}),
        ("spectrum_rank", lambda m, d, axis: 1, {"floor", "rank"}),
    ],
)
def test_the_theory_says_no(
    function: str, broken: Callable[..., Any], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory, function, broken)
    assert theory_refused() - {"theorem-2-needs-iterations"} == expected


def test_the_theory_says_yes() -> None:
    assert not theory_refused()
    assert theory_refused(least_excess=-1e-9) == {"floor"}  # one batch below it is enough


def test_the_theory_takes_each_axis_with_each_number_of_iterations() -> None:
    settings, _ = read_settings("theory", [])
    found = [theory._combination(settings, case) for case in range(24)]
    pairs = {(axis, t) for axis in theory.AXES for t in settings.iterations}
    for turn in (0, 1):
        assert {(axis, t) for axis, t, of_turn in found if of_turn == turn} == pairs
