"""Claims about runs that share their operations:

1. whitenings, trace loss and network of a stack are the package's and torch's, run by run, gradients too;
2. a run of the toy does not depend on the runs beside it;
3. a run whose gradient is not finite stops there, and the others go on, whatever it gives from then on.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from solo_intl.experiments.analysis import stacked, toy
from solo_intl.experiments.analysis.settings import read_settings
from solo_intl.losses import iternorm, power_function, spectral_transform, trace_loss

PAIRS = {
    **{
        f"iternorm {t}": (partial(stacked.stacked_iternorm, iterations=t), partial(iternorm, iterations=t))
        for t in (0, 1, 5, 9)
    },
    **{
        f"power {p}": (partial(stacked.stacked_power, p=p), partial(spectral_transform, g=power_function(p)))
        for p in (0.3, 0.5)
    },
    "trace": (stacked.stacked_trace_loss, trace_loss),
}


def embeddings(condition: float) -> Tensor:
    z = torch.randn(2, 3, 32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 5
    return (z * torch.tensor([1.0, condition**-0.5])).requires_grad_()


@pytest.mark.parametrize("condition", [1.0, 1e4])
@pytest.mark.parametrize("name", PAIRS)
def test_as_the_package(name: str, condition: float) -> None:
    of_stack, of_one = PAIRS[name]
    z = embeddings(condition)
    found = of_stack(z)
    expected = torch.stack([torch.stack([of_one(one, axis="batch") for one in row]) for row in z])  # type: ignore[operator]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad((y * weights).sum(), z)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-7)


def test_network_is_torchs() -> None:
    settings, _ = read_settings("toy", [])
    networks = [toy.encoder(toy.blobs(settings, seed), 2.0, seed) for seed in (0, 1)]
    x = torch.randn(2, 8, 2, dtype=torch.float64)
    found = stacked.forward(stacked.stack_parameters(networks), x)
    expected = torch.stack([network.double()(part) for network, part in zip(networks, x, strict=True)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["IterNorm T=5", "power p=0.5", "INTL beta=1"])
def test_runs_are_apart(name: str) -> None:
    short = ["steps=12", "every=4"]
    both, alone = (read_settings("toy", [*short, f"seeds={seeds}"])[0] for seeds in ("[3,7]", "[7]"))
    transform, beta = toy.transforms(both)[name]
    together, single = (toy.train(settings, transform, beta) for settings in (both, alone))
    for start, (run,) in single.items():
        assert run["step"] == together[start][1]["step"] == [0, 4, 8, 12]
        for which in ("embedding", "output"):
            assert run[which] == [pytest.approx(pair, rel=1e-6) for pair in together[start][1][which]]
            assert together[start][0][which] != together[start][1][which]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_broken_run_stops_alone(lasting: bool) -> None:
    settings, _ = read_settings("toy", ["steps=6", "every=1", "seeds=[0,1]"])
    calls = 0

    def transform(z: Tensor) -> Tensor:
        nonlocal calls
        calls += z.requires_grad
        # from the third step on, or in it alone: the second seed of the first start
        if calls >= 3 if lasting else calls == 3 and z.requires_grad:
            return z * torch.tensor([1, torch.nan, 1, 1])[:, None, None]
        return z

    runs = toy.train(settings, transform, 0.0)
    broke = {start: [run["broke_at"] for run in of_start] for start, of_start in runs.items()}
    assert broke == {"well": [None, 2], "ill": [None, None]}
    assert runs["well"][1]["step"] == [0, 1, 2]
    assert [len(run["step"]) for run in (runs["well"][0], *runs["ill"])] == [7, 7, 7]
    assert all(value == value for pair in runs["well"][0]["embedding"] for value in pair)
