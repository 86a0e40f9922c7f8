"""Claims about the theory's functions:

1. `spectral_map` is x f_T(x)^2 with the published recursion, for numbers and tensors, and keeps the kind;
2. it stays finite where f overflows (x = 0, large T), and lies in [0, 1] and increases on [0, 1];
3. `trace_loss_floor` gives the published figures and (n - r h_T(1/r))^2 / n, worsening as the rank falls;
4. `whitened_size` and `spectrum_rank` count as centring does (compared with a measured rank);
5. `default_beta` is positive above 8 and refuses from 8 down.
"""

from __future__ import annotations

import pytest
import torch

from solo_intl.losses import default_beta, spectral_map, spectrum_rank, trace_loss_floor, whitened_size


def published_map(x: float, iterations: int) -> float:
    f = 1.0
    for _ in range(iterations):
        f = (3 * f - x * f**3) / 2
    return x * f**2


@pytest.mark.parametrize("iterations", [0, 1, 2, 4, 7, 10])
def test_map_is_the_published_recursion(iterations: int) -> None:
    xs = [0.0, 1e-9, 1e-3, 1 / 256, 0.2, 0.5, 0.99, 1.0]
    expected = [published_map(x, iterations) for x in xs]
    assert [spectral_map(x, iterations=iterations) for x in xs] == pytest.approx(expected, rel=1e-12)
    tensor = spectral_map(torch.tensor(xs, dtype=torch.float64).view(2, 4), iterations=iterations)
    assert tensor.shape == (2, 4)
    assert tensor.flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_map_keeps_the_kind_of_its_argument() -> None:
    assert isinstance(spectral_map(0.5), float)
    assert isinstance(spectral_map(1), float)
    assert spectral_map(torch.rand(3)).dtype == torch.float32
    assert spectral_map(torch.rand(3).bfloat16()).dtype == torch.float32
    assert spectral_map(torch.rand(3, dtype=torch.float64)).dtype == torch.float64


def test_map_is_differentiable() -> None:
    x = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(spectral_map, x)


@pytest.mark.parametrize("iterations", [1, 4, 3000])
def test_map_stays_in_bounds_and_increases(iterations: int) -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    h = spectral_map(x, iterations=iterations)
    assert h[0] == 0
    assert h[-1] == 1
    assert torch.isfinite(h).all()
    assert (h >= 0).all()
    assert (h <= 1 + 1e-15).all()
    assert (h.diff() >= -1e-15).all()


def test_published_figures() -> None:
    assert spectral_map(1 / 256, iterations=4) == pytest.approx(0.0952, abs=5e-5)
    assert trace_loss_floor(256, iterations=4) == pytest.approx(209.60, abs=5e-3)
    assert trace_loss_floor(256, iterations=4, rank=127) == pytest.approx(211.78, abs=5e-3)
    assert 2 * 0.05 * trace_loss_floor(256) == pytest.approx(20.96, abs=5e-3)


@pytest.mark.parametrize("iterations", [0, 1, 4, 9])
def test_floor_formula(iterations: int) -> None:
    for n, rank in ((1, 1), (16, 16), (16, 5), (16, 1)):
        expected = (n - rank * published_map(1 / rank, iterations)) ** 2 / n
        assert trace_loss_floor(n, iterations=iterations, rank=rank) == pytest.approx(expected, rel=1e-12)
    assert trace_loss_floor(16, iterations=iterations) == trace_loss_floor(16, iterations=iterations, rank=16)


def test_floor_rises_as_rank_falls() -> None:
    floors = [trace_loss_floor(64, rank=rank) for rank in range(1, 65)]
    assert floors == sorted(floors, reverse=True)
    assert floors[0] > floors[-1]


@pytest.mark.parametrize("axis", ["channel", "batch"])
@pytest.mark.parametrize("m, d", [(2, 2), (8, 20), (20, 8), (9, 9), (8, 9), (9, 8)])
def test_size_and_rank_count_as_centring_does(m: int, d: int, axis: str) -> None:
    z = torch.randn(m, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zc = z - z.mean(1 if axis == "channel" else 0, keepdim=True)
    sigma = zc @ zc.T if axis == "channel" else zc.T @ zc
    assert whitened_size(m, d, axis) == len(sigma)
    assert spectrum_rank(m, d, axis) == torch.linalg.matrix_rank(sigma, hermitian=True)


def test_default_beta() -> None:
    assert default_beta(256) == pytest.approx(0.05)
    assert default_beta(128) == pytest.approx(0.04)
    assert default_beta(9) > 0
    for size in (8, 4, 1):
        with pytest.raises(ValueError, match=f"beta must be given.*needs a whitened size > 8; found {size}"):
            default_beta(size)
