"""Claims about solo-learn HEAD's own scripts, unmodified, with this package installed and nothing else done:

1. `main_pretrain.py method=intl` trains on two processes, `method=intl_ema` on one, from the shipped YAML;
2. their parser, checkpointer and data give the method what it needs: scaled rates, the end of the schedule,
   momentum coefficients, counts of views;
3. `main_linear.py` evaluates the checkpoint with the very weights that pre-training left;
4. `knn` and `linear` of this package read it as well, the momentum network included.

The images are digits in class folders: solo-learn downloads CIFAR unless the original files are there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cifar_files import digits_rgb
from PIL import Image

from solo_intl.cli import main
from solo_intl.detect import HEAD, find_host

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = Path(os.environ.get("SOLO_LEARN_CHECKOUT") or find_host().location.parent)
BATCH, TRAINING, VALIDATION = 16, 80, 20


def missing() -> str:
    if find_host().generation != HEAD:
        return "solo-learn HEAD is not the host: its scripts are missing"
    if not (CHECKOUT / "main_pretrain.py").is_file():
        return (
            f"main_pretrain.py is not in {CHECKOUT}: put a checkout of HEAD on PYTHONPATH or name it in "
            "SOLO_LEARN_CHECKOUT (pip installs no scripts)"
        )
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def run_script(script: str, place: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, CHECKOUT / script, *arguments, "accelerator=cpu", "data.num_workers=0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        timeout=1800,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_folders(root: Path) -> None:
    """Digits in class folders under ``train`` and ``val``."""
    for split, count in (("train", TRAINING), ("val", VALIDATION)):
        for i, (image, label) in enumerate(zip(*digits_rgb(count, 0), strict=True)):
            (root / split / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / split / str(label) / f"{i}.png")


FOLDERS = ["data.dataset=custom", "data.train_path=train", "data.val_path=val"]


def pretrain(place: Path, method: str, *more: str) -> Path:
    """The one checkpoint that `main_pretrain.py` leaves."""
    write_folders(place)
    yaml = ["--config-path=pkg://solo_intl.scripts.pretrain.cifar", "--config-name=intl"]
    small = [f"optimizer.batch_size={BATCH}", "max_epochs=1", "method_kwargs.proj_hidden_dim=32"]
    # main_linear.py knows the stem for small images on CIFAR only
    stem = "+backbone.stem=imagenet"
    run_script("main_pretrain.py", place, *yaml, *FOLDERS, f"method={method}", *small, stem, *more)
    (checkpoint,) = (place / "runs" / method).rglob("*.ckpt")
    # as docs/solo-learn-scripts.md spells it
    assert checkpoint.relative_to(place).as_posix() == f"runs/{method}/0/intl-cifar10-0-ep=0.ckpt"
    return checkpoint


# a string, since the parser takes len(devices); and SyncBatchNorm needs a GPU
TWO_PROCESSES = ["devices='2'", "strategy=ddp", "sync_batchnorm=False"]


@pytest.fixture(scope="module")
def intl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(tmp_path_factory.mktemp("intl"), "intl", *TWO_PROCESSES)


@pytest.fixture(scope="module")
def intl_ema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(tmp_path_factory.mktemp("intl_ema"), "intl_ema")


def place_of(checkpoint: Path) -> Path:
    return next(parent.parent for parent in checkpoint.parents if parent.name == "runs")


def read(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    saved = torch.load(checkpoint, weights_only=True)
    return saved, saved["solo_intl"]["cfg"], saved["state_dict"]


def test_intl_trains_on_two_processes(intl: Path) -> None:
    saved, cfg, state = read(intl)
    assert saved["global_step"] == 2, "80 images, 2 processes of 16; alone it would be 5"
    assert {name.split(".")[0] for name in state} == {"backbone", "projector", "classifier"}
    assert all(value.isfinite().all() for value in state.values())
    assert (cfg["data"]["num_large_crops"], cfg["data"]["num_small_crops"]) == (2, 0)


@pytest.mark.parametrize("method", ["intl", "intl_ema"])
def test_rates_follow_the_batch(method: str, request: pytest.FixtureRequest) -> None:
    cfg = read(request.getfixturevalue(method))[1]
    assert cfg["optimizer"]["lr"] == pytest.approx(0.3 * BATCH / 256)
    assert cfg["optimizer"]["classifier_lr"] == pytest.approx(0.1 * BATCH / 256)
    assert cfg["scheduler"]["min_lr"] == pytest.approx(1e-3 * cfg["optimizer"]["lr"])


def test_intl_ema_trains(intl_ema: Path) -> None:
    saved, cfg, state = read(intl_ema)
    assert saved["global_step"] == 5
    assert (cfg["momentum"]["base_tau"], cfg["momentum"]["final_tau"]) == (0.996, 1.0)
    online = {name: value for name, value in state.items() if name.startswith(("backbone.", "projector."))}
    for name, value in online.items():
        if name.endswith("conv1.weight"):
            assert not torch.equal(state[f"momentum_{name}"], value)
            torch.testing.assert_close(state[f"momentum_{name}"], value, rtol=0, atol=0.1)


def test_intl_ema_trains_on_two_processes(tmp_path: Path) -> None:
    saved, _, state = read(pretrain(tmp_path, "intl_ema", *TWO_PROCESSES))
    assert saved["global_step"] == 2
    assert {"momentum_backbone", "momentum_projector"} <= {name.split(".")[0] for name in state}


@pytest.mark.parametrize("method", ["intl", "intl_ema"])
def test_main_linear_evaluates_the_online_weights(method: str, request: pytest.FixtureRequest) -> None:
    checkpoint = request.getfixturevalue(method)
    place = place_of(checkpoint)
    yaml = ["--config-path=pkg://solo_intl.scripts.linear.cifar", "--config-name=sgd"]
    # quoted, since the name that solo-learn gives holds an "="
    given = [f"pretrained_feature_extractor='{checkpoint}'", f"pretrain_method={method}"]
    small = [f"optimizer.batch_size={BATCH}", "max_epochs=1"]
    run_script("main_linear.py", place, *yaml, *FOLDERS, *given, *small)
    (evaluated,) = (place / "runs" / "linear").glob("*/*.ckpt")
    after = torch.load(evaluated, weights_only=True)["state_dict"]
    before = {name: value for name, value in read(checkpoint)[2].items() if name.startswith("backbone.")}
    assert len(before) > 100
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(("method", "momentum"), [("intl", "false"), ("intl_ema", "true")])
def test_our_commands_read_it(
    method: str, momentum: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = request.getfixturevalue(method)
    place = place_of(checkpoint)
    monkeypatch.chdir(place)
    given = [f"pretrained_feature_extractor={checkpoint}", f"use_momentum={momentum}", "checkpoint.dir=ours"]
    for command, more in (("knn", []), ("linear", ["max_epochs=5"])):
        assert main([command, *given, *more]) == 0
        (folder,) = (place / "ours" / command).iterdir()
        assert 0 <= json.loads((folder / "metrics.json").read_text())["metrics"]["top1"] <= 100
