"""Claims about the measures of a batch of embeddings: eigenvalues and condition are those of its
covariance, whether it has more images or more channels; the effective rank is RankMe's, by its own
definition; the trace excess is INTL's trace loss over its floor, on either axis; std, mean cosine and the
direction's share are those of the rows at length 1; equal rows and rows in one direction count as collapsed,
spread ones do not, not even in few channels, nor a single long one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from solo_intl.engine import monitor
from solo_intl.engine.spectrum import measure_spectrum
from solo_intl.losses import iternorm, spectrum_rank, trace_loss, trace_loss_floor, whitened_size


def collapse(z: torch.Tensor) -> str | None:
    found = measure_spectrum(z)
    return monitor.collapse(found.eigenvalues.tolist(), found.mean_cosine, found.direction_share)


def embeddings(m: int, d: int, mean: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(m * d)
    scales = torch.logspace(0, -2, d)
    return torch.randn(m, d, generator=generator) * scales + mean


@pytest.mark.parametrize(("m", "d"), [(12, 40), (40, 12), (16, 16)])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_eigenvalues_of_the_covariance(m: int, d: int, mean: float):
    z = embeddings(m, d, mean)
    found = measure_spectrum(z)
    expected = np.linalg.eigvalsh(np.cov(z.double().numpy(), rowvar=False))[::-1][: min(m - 1, d)]
    assert np.allclose(found.eigenvalues, expected / expected.sum(), rtol=1e-6, atol=1e-12)
    assert found.log10_inverse_condition == pytest.approx(math.log10(expected[-1] / expected[0]), abs=1e-4)


@pytest.mark.parametrize(("m", "d"), [(12, 40), (40, 12)])
def test_effective_rank_and_std(m: int, d: int):
    z = embeddings(m, d, mean=0.3)
    singular = np.linalg.svd(z.double().numpy(), compute_uv=False)
    shares = singular / singular.sum()
    found = measure_spectrum(z)
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    rows = z.double().numpy() / np.linalg.norm(z.double().numpy(), axis=1, keepdims=True)
    assert found.std == pytest.approx(rows.std(axis=0, ddof=1).mean() * math.sqrt(d), rel=1e-6)
    cosines = (rows @ rows.T)[~np.eye(m, dtype=bool)]
    assert found.mean_cosine == pytest.approx(cosines.mean(), rel=1e-6)
    variances = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
    assert found.direction_share == pytest.approx(variances[-1] / variances.sum(), rel=1e-6)


@pytest.mark.parametrize("axis", ["channel", "batch"])
def test_trace_excess(axis: str):
    z = embeddings(12, 40)
    floor = trace_loss_floor(whitened_size(12, 40, axis), iterations=3, rank=spectrum_rank(12, 40, axis))
    expected = float(trace_loss(iternorm(z, iterations=3, axis=axis), axis=axis)) - floor
    assert measure_spectrum(z, iterations=3, axis=axis).trace_excess == pytest.approx(expected, abs=1e-5)


def test_collapsed_or_not():
    spread = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    assert collapse(spread) is None
    equal = (spread[:1] + 1e-4 * spread).bfloat16()
    assert "nearly equal" in str(collapse(equal))
    assert collapse(torch.zeros(8, 4)) == collapse(torch.ones(8, 4)) == "all embeddings are equal"
    line = spread[:, :1] * spread[:1]  # one direction, both ways: spread out, but of rank one
    assert measure_spectrum(line).std > 0.7
    assert "one direction holds 100.0%" in str(collapse(line))
    assert collapse(spread[:, :6] @ spread[:6]) is None  # six of 63 dimensions
    few = torch.zeros(256, 8192)  # channels in use, as behind a ReLU
    few[:, :16] = torch.randn(256, 16, generator=torch.Generator().manual_seed(1)).relu()
    assert measure_spectrum(few).std < 0.05
    assert collapse(few) is None
    one_long = spread.clone()
    one_long[7] *= 60
    assert float(measure_spectrum(one_long).eigenvalues[0]) > 0.9
    assert collapse(one_long) is None
    beside = line + 2 * spread[1:2]  # on a line that misses the origin
    assert "one direction holds" in str(collapse(beside))
