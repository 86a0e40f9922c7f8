"""Claims about the spectrum monitor, on real runs: it measures the first step and every n-th, from the
forward pass that the method makes anyway; measures are in metrics.csv and, with the eigenvalues, in
spectrum.npz; 0 turns it off; it finds the embedding of every method; a run that collapses is warned of
once, whether all embeddings become equal, only their directions few, or some not finite, also when it is
resumed; a healthy run is not, whatever its method; metrics.json keeps the warning's step and reason. Beside
it the run folder holds the views of the first batch and each epoch's seconds."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.config.compose import config_folder
from solo_intl.engine.monitor import SpectrumMonitor, embedding_module
from solo_intl.engine.pretrain import prepare, pretrain
from solo_intl.errors import UserError
from solo_intl.experiments.cell import read_config

EPOCHS, BATCH = 5, 32
CONFIGURED = {file.stem for file in config_folder("pretrain/digits").glob("*.yaml")}


def config(folder: Path, method: str, *overrides: str) -> DictConfig:
    tiny = (
        f"checkpoint.dir={folder}",
        "data.num_workers=0",
        "++data.max_images=64",
        "++backbone.stem_stride=2",
        "++limit_val_batches=0",
        "++enable_progress_bar=false",
        f"optimizer.batch_size={BATCH}",
        f"max_epochs={EPOCHS}",
        "scheduler.warmup_epochs=0",
        "monitor.every_n_steps=4",
        "precision=32-true",
    )
    return read_config(config_folder("pretrain/digits"), method, [*tiny, *overrides])


def run(folder: Path, method: str, *overrides: str) -> tuple[Path, dict[str, Any], list[str]]:
    """Run folder, final figures, and the warnings about collapse."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        place, final = pretrain(config(folder, method, "checkpoint.enabled=false", *overrides))
    return place, final, [str(w.message) for w in caught if "collapse begins" in str(w.message)]


SMALL = ("method_kwargs.proj_hidden_dim=256", "method_kwargs.proj_output_dim=64")


def rows(place: Path, name: str) -> dict[int, float]:
    with (place / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def test_a_healthy_run_is_measured_and_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = torch.nn.Sequential.forward

    def counted(module: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        if len(module) == 7:  # INTL's projector
            calls.append(original(module, x))
            return calls[-1]
        return original(module, x)

    monkeypatch.setattr(torch.nn.Sequential, "forward", counted)
    place, final, alarms = run(tmp_path, "intl")
    assert alarms == []
    assert final["spectrum"]["warned"] is None
    assert len(calls) == 2 * 2 * EPOCHS  # two views, two steps an epoch, and no forward pass more
    with np.load(place / "spectrum.npz") as file:
        spectrum = dict(file)
    assert spectrum["step"].tolist() == [0, 3, 7]
    assert spectrum["eigenvalues"].shape == (3, BATCH - 1)
    assert str(spectrum["source"]) == "projector"
    for moment, step in enumerate(spectrum["step"]):
        first_view = calls[2 * step].detach().double()
        centred = first_view - first_view.mean(dim=0)
        squared = torch.linalg.svdvals(centred)[:-1].square()
        assert np.allclose(spectrum["eigenvalues"][moment], squared / squared.sum(), atol=1e-6)
    for name in ("effective_rank", "log10_inverse_condition", "trace_excess", "std"):
        logged = rows(place, f"spectrum_{name}")
        assert logged == pytest.approx(dict(zip(spectrum["step"].tolist(), spectrum[name], strict=True)))
        assert final["spectrum"][name] == pytest.approx(spectrum[name][-1])
    seconds = list(rows(place, "seconds").values())
    assert len(seconds) == EPOCHS
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= final["seconds"]
    with np.load(place / "views.npz") as views:
        assert views["view0"].shape == views["view1"].shape == (6, 16, 16, 3)
        assert (views["view0"] != views["view1"]).any()
        assert views["view0"].std() > 20  # a picture again, not the normalised tensor


COLLAPSING = {
    # neither whitening nor trace loss: only the invariance is left, which equal embeddings fulfil
    "nearly equal": ("intl", "beta=0", "iterations=0", 8.0, 4, 8),
    # no decorrelation: every channel may follow the one direction that no augmentation changes
    "one direction holds": ("barlow_twins", "lamb=0", "scale_loss=0.1", 0.2, 10, 5),
}


@pytest.mark.parametrize("reason", COLLAPSING)
def test_a_collapsing_run_is_warned_of_once(tmp_path: Path, reason: str):
    method, *settings, rate, epochs, every = COLLAPSING[reason]
    overrides = [*SMALL, *(f"method_kwargs.{setting}" for setting in settings)]
    overrides += [f"optimizer.lr={rate}", f"max_epochs={epochs}", f"monitor.every_n_steps={every}"]
    place, _, alarms = run(tmp_path, method, *overrides)
    assert len(alarms) == 1
    assert reason in alarms[0]
    assert str(place / "spectrum.npz") in alarms[0]
    kept = json.loads((place / "metrics.json").read_text())["spectrum"]["warned"]
    assert kept.keys() == {"step", "reason"}
    assert f"step {kept['step']}: {kept['reason']};" in alarms[0]


def test_a_run_that_diverges_is_warned_of_once(tmp_path: Path):
    """Its first step takes the weights to where their squares overflow."""
    place, final, alarms = run(
        tmp_path, "vicreg", *SMALL, "optimizer.lr=1e30", "max_epochs=2", "monitor.every_n_steps=1"
    )
    assert len(alarms) == 1
    assert "step 1: embeddings are not finite;" in alarms[0]
    assert final["spectrum"]["warned"] == {"step": 1, "reason": "embeddings are not finite"}
    with np.load(place / "spectrum.npz") as spectrum:
        assert spectrum["step"].tolist() == [0]
        assert all(np.isfinite(spectrum[name]).all() for name in ("eigenvalues", "std", "effective_rank"))


@pytest.fixture
def not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings that the monitor catches hold an infinity in one element."""
    original = SpectrumMonitor._catch

    def broken(monitor: SpectrumMonitor, module: Any, inputs: Any, output: Any) -> None:
        original(monitor, module, inputs, output)
        if monitor._z is not None:
            monitor._z[3, 5] = torch.inf

    monkeypatch.setattr(SpectrumMonitor, "_catch", broken)


@pytest.mark.usefixtures("not_finite")
def test_embeddings_that_are_not_finite_are_warned_of_but_not_measured(tmp_path: Path):
    place, final, alarms = run(tmp_path, "vicreg", *SMALL, "max_epochs=2", "monitor.every_n_steps=1")
    assert len(alarms) == 1
    assert "step 0: embeddings are not finite;" in alarms[0]
    assert final["spectrum"].keys() == {"seconds", "warned"}
    assert final["spectrum"]["warned"] == {"step": 0, "reason": "embeddings are not finite"}
    assert not (place / "spectrum.npz").exists()
    assert "spectrum_std" not in (place / "metrics.csv").read_text()


@pytest.mark.usefixtures("not_finite")
def test_a_resumed_run_does_not_warn_again(tmp_path: Path):
    saves = (*SMALL, "checkpoint.enabled=true", "monitor.every_n_steps=1")
    place, before, alarms = run(tmp_path, "vicreg", *saves, "max_epochs=1")
    assert len(alarms) == 1
    checkpoint = place / "checkpoints" / "last.ckpt"
    torch.load(checkpoint, weights_only=True)
    _, after, alarms = run(
        tmp_path, "vicreg", *saves, "max_epochs=2", f"++resume_from_checkpoint={checkpoint}"
    )
    assert alarms == []
    assert after["steps"] == 4
    assert after["spectrum"]["warned"] == before["spectrum"]["warned"]


@pytest.mark.parametrize("method", ["simclr", "vicreg", "mae"])
def test_other_healthy_methods_are_silent(tmp_path: Path, method: str):
    if method not in host.METHODS:
        pytest.skip(f"solo-learn HEAD is not the host: {method} is missing")
    _, final, alarms = run(tmp_path, method, *(SMALL if method != "mae" else ()), "max_epochs=2")
    assert alarms == []
    assert final["spectrum"]["warned"] is None


def test_off(tmp_path: Path):
    place, final, _ = run(tmp_path, "vicreg", "monitor.every_n_steps=0", "max_epochs=1")
    assert not (place / "spectrum.npz").exists()
    assert "spectrum" not in final
    assert "spectrum_std" not in (place / "metrics.csv").read_text()
    with pytest.raises(
        UserError, match=r"monitor\.every_n_steps: found -1, accepted: a non-negative integer"
    ):
        prepare(config(tmp_path, "vicreg", "monitor.every_n_steps=-1"))


@pytest.mark.parametrize("method", sorted((set(host.METHODS) & CONFIGURED) - {"mae"}))
def test_finds_the_embedding_of_every_method(tmp_path: Path, method: str):
    large = ("data.max_images=256", "optimizer.batch_size=128")  # what W-MSE whitens together
    cfg = config(tmp_path, method, "++dry_run=true", *large)
    model: Any = prepare(cfg).model
    found = []
    embedding_module(model)[1].register_forward_hook(lambda module, inputs, output: found.append(output))
    model.train()(torch.randn(4, 3, 16, 16))
    if not found:  # 1.0.2's methods make embeddings in the training step alone
        embedding_module(model)[1](torch.randn(4, model.features_dim))
    width = OmegaConf.select(cfg, "method_kwargs.proj_output_dim")
    assert found[0].shape == (4, width)
