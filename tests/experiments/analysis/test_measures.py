"""Claims about what the analyses measure with:

1. the toy's starts have exactly the stated condition number, and the stated network and batches;
2. hard whitening by Cholesky and by eigendecomposition both give the identity covariance, and INTL's runs see
   the same data: a run's first condition number does not depend on the method;
3. a broken run says where and why, and the report counts it; one that is not broken is not counted;
4. the learning rate of the ablation warms up and drops where stated, an epoch shows no image twice, and the
   small network is the stated one;
5. embeddings with a chosen spectrum have it.
"""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from solo_intl.experiments.analysis import ablation, instability, toy
from solo_intl.experiments.analysis.instability_report import instability_claims
from solo_intl.experiments.analysis.settings import read_settings
from solo_intl.experiments.analysis.spectra import (
    covariance_eigenvalues,
    embeddings_with,
    harmonic_frame,
    orthonormal,
)
from solo_intl.losses import power_function, spectral_transform

SMALL = (
    *("dataset=digits", "max_images=60", "batch_size=20", "hidden=32"),
    *("seeds=[0]", "steps=2", "longer=2", "steps_above=2", "every=1"),
)


@pytest.mark.parametrize("condition", [2.0, 1e4])
def test_toy_starts(condition: float) -> None:
    settings, _ = read_settings("toy", [])
    points = toy.blobs(settings, seed=3)
    network = toy.encoder(points, condition, seed=3)
    with torch.no_grad():
        larger, smaller = covariance_eigenvalues(network(points)).tolist()
    assert larger / smaller == pytest.approx(condition, rel=1e-2)
    widths = [(layer.in_features, layer.out_features) for layer in network if hasattr(layer, "in_features")]
    assert widths == [(2, 16), (16, 16), (16, 2)]
    assert points.shape == (512, 2)


def test_hard_whitenings() -> None:
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = z @ torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for white in (
        instability.cholesky_whitening(z),
        spectral_transform(z, power_function(0.5), axis="batch"),
    ):
        torch.testing.assert_close(torch.cov(white.T), torch.eye(8, dtype=torch.float64))


def test_a_break_is_seen_and_counted() -> None:
    settings, _ = read_settings("instability", [*SMALL, "dims=[9,24]"])
    runs = {
        (method, d): [instability.train(settings, method, d, 0)]
        for method in instability.METHODS
        for d in settings.dims
    }
    first = {run["log10_inverse_condition"][0] for (_, d), (run,) in runs.items() if d == 9}
    assert len(first) == 1
    cholesky = runs["Cholesky", 24][0]
    assert cholesky["broke_at"] == 0
    assert cholesky["why"].startswith("decomposition failed")
    sound = runs["INTL, batch", 24][0]
    assert sound["broke_at"] is None
    assert len(sound["step"]) == 2
    claims = {claim.name: claim for claim in instability_claims(runs, settings)}
    assert claims["wider-Cholesky"].holds
    assert claims["wider-Cholesky"].measured["Cholesky, d=24"]["broke"] == 1
    assert claims["intl-batch"].holds
    runs["INTL, batch", 9][0]["broke_at"] = 1
    assert not {claim.name: claim for claim in instability_claims(runs, settings)}["intl-batch"].holds


def test_a_gradient_that_is_not_finite_is_a_break() -> None:
    network = torch.nn.Linear(2, 2)
    views = [network(torch.zeros(4, 2))]
    assert instability._backward(lambda z: z[0].sum().sub(z[0].sum().detach()).sqrt(), views, network) == (
        "gradient not finite"
    )
    assert instability._backward(lambda z: z[0].sum() * torch.nan, views, network) == "loss not finite"


def test_learning_rate() -> None:
    settings, _ = read_settings("ablation", ["size=full"])
    rates = [ablation.rate(settings, step) for step in (0, 249, 499, 749, 750, 875)]
    assert rates == pytest.approx([1 / 500, 0.5, 1.0, 1.0, 0.2, 0.04])


def test_ablation_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "BatchedViews", lambda *_: lambda images, step: [images, images + 1, step])
    settings, _ = read_settings(
        "ablation", ["config=pretrain/digits", "batch_size=24", "overrides.data.max_images=60"]
    )
    cfg = ablation.run_config(settings, 0)
    streams = [ablation._batches(cfg, settings, seed) for seed in (0, 0, 1)]
    batches, again, other = ([next(stream) for _ in range(4)] for stream in streams)
    assert all(
        torch.equal(a, b) for x, y in zip(batches, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(batches[0][0], other[0][0])
    images = {tuple(image.flatten().tolist()) for image in ablation._load_images(OmegaConf.to_yaml(cfg.data))}
    for epoch in (batches[:2], batches[2:]):
        seen = [tuple(image.flatten().tolist()) for views in epoch for image in views[0]]
        assert len(seen) == len(set(seen) & images) == 48  # no image twice; the rest of 60 is left out
        assert all(len(views) == 2 for views in epoch)
    assert not torch.equal(batches[0][0], batches[2][0])


def test_small_network() -> None:
    network, features = ablation.small_network(4)
    assert network(torch.zeros(2, 3, 28, 28)).shape == (2, features) == (2, 32)
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [(layer.out_channels, layer.stride) for layer in convolutions] == [
        (4 * 2**i, (2, 2)) for i in range(4)
    ]


@pytest.mark.parametrize("axis", ["channel", "batch"])
def test_embeddings_with_a_spectrum(axis: str) -> None:
    g = torch.Generator().manual_seed(0)
    spectrum = torch.tensor([3.0, 1.0, 1e-3], dtype=torch.float64)
    for vectors in (orthonormal(5, 3, g), harmonic_frame(5, 3)):
        z = embeddings_with(spectrum, vectors, 9, g, axis=axis)
        assert z.shape == ((5, 9) if axis == "channel" else (9, 5))
        found = covariance_eigenvalues(z, axis=axis)
        torch.testing.assert_close(found[:3], spectrum, rtol=1e-9, atol=1e-12)
        assert found[3:].abs().max() < 1e-12
    assert harmonic_frame(5, 3).square().sum(1).tolist() == pytest.approx([0.6] * 5)
