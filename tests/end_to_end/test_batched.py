"""Claims: with ``data.augment=batched`` methods that differ in what they ask of a batch take real steps,
online k-NN and several view sizes included; views reach the network on the loader's images, other draws each
step; a resumed run draws what the uninterrupted one would; two processes draw apart; in full double precision
the views follow; a wrong value is one line, and so are own images of several sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from data_files import refused, write_class_folders
from PIL import Image
from small_run import run_cli

from solo_intl import host
from solo_intl.config import SCRIPTS
from solo_intl.engine.dry_run import dry_run
from solo_intl.engine.pretrain import prepare, pretrain
from solo_intl.experiments.cell import read_config

TINY = (
    "+data.max_images=64",
    "+data.augment=batched",
    "optimizer.batch_size=16",
    "data.num_workers=0",
    "backbone.stem_stride=2",
    "max_epochs=1",
    "precision=32-true",
    "accelerator=cpu",
    "+limit_val_batches=4",  # 64 images: all ten classes, which solo-learn's k-NN needs
)


# one and two networks, indices (deepclusterv2), a queue, small views (swav)
@pytest.mark.parametrize(
    "method", ["intl", "intl_ema", "barlow_twins", "deepclusterv2", "mocov2plus", "swav"]
)
def test_methods_train(method: str, tmp_path: Path) -> None:
    cfg = read_config(SCRIPTS / "pretrain" / "digits", "intl" if method == "intl_ema" else method, list(TINY))
    cfg.method, cfg.checkpoint.dir = method, str(tmp_path)
    cfg.knn_eval = {"enabled": True, "k": 3, "distance_func": "cosine"}
    if method == "deepclusterv2":
        cfg.method_kwargs.num_prototypes = [10, 10, 10]
    if method == "mocov2plus":
        cfg.method_kwargs.queue_size = 64
    folder, final = pretrain(cfg)
    assert final["steps"] == 4 and 0 <= final["metrics"]["val_knn_acc1"] <= 100
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def batched(make_cfg: Any, **overrides: Any) -> Any:
    return make_cfg(data__augment="batched", **overrides)


def record(run: Any) -> list[list[torch.Tensor]]:
    """The views of every training step to come."""
    seen: list[list[torch.Tensor]] = []
    original = run.model.training_step

    def step(batch: Any, batch_idx: int) -> Any:
        seen.append(batch[1])
        return original(batch, batch_idx)

    run.model.training_step = step
    return seen


def test_views_of_several_sizes_reach_the_method(make_cfg) -> None:
    (view,) = host.plain(make_cfg().augmentations)
    sizes = [{**view, "num_crops": 1}, {**view, "num_crops": 2}, {**view, "crop_size": 10, "num_crops": 2}]
    for method in ("intl", "intl_ema"):
        run = prepare(batched(make_cfg, method=method, augmentations=sizes, data__max_images=33))
        seen = record(run)
        run.trainer.fit(run.model, run.train, run.val)
        assert [[tuple(v.shape) for v in views] for views in seen] == 2 * [
            [(16, 3, s, s) for s in (16, 16, 16, 10, 10)]
        ]
        assert not torch.equal(seen[0][0], seen[1][0]) and not torch.equal(seen[0][1], seen[0][2])


def test_validation_images_are_not_augmented(make_cfg) -> None:
    run = prepare(batched(make_cfg))
    images, _ = next(iter(run.val))
    run.trainer.validate(run.model, run.val, verbose=False)
    assert images.dtype == torch.float32 and images.shape[1:] == (3, 16, 16)


def draws_of(cfg: Any, resume: Path | None = None) -> list[tuple[int, int]]:
    """Step and rank of every call for views."""
    run = prepare(cfg)
    make, calls = run.model.make_views, []

    def views(images: torch.Tensor, step: int, rank: int) -> list[torch.Tensor]:
        calls.append((step, rank))
        return make(images, step, rank)

    run.model.make_views = views
    run.trainer.fit(run.model, run.train, run.val, ckpt_path=resume, weights_only=True)
    return calls


def test_a_resumed_run_goes_on_with_the_draws(make_cfg, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, final = pretrain(batched(make_cfg))
    monkeypatch.delenv("SOLO_INTL_RUN_FOLDER")
    assert final["steps"] == 2
    last = folder / "checkpoints" / "last.ckpt"
    assert draws_of(batched(make_cfg, max_epochs=2), last) == [(2, 0), (3, 0)]
    monkeypatch.delenv("SOLO_INTL_RUN_FOLDER")
    assert draws_of(batched(make_cfg, max_epochs=2)) == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_the_same_seed_gives_the_same_run(make_cfg, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for seed in (0, 0, 1):
        monkeypatch.delenv("SOLO_INTL_RUN_FOLDER", raising=False)
        losses.append(pretrain(batched(make_cfg, seed=seed))[1]["metrics"]["train_intl_loss_epoch"])
    assert losses[0] == losses[1] != losses[2]


def test_double_precision(make_cfg) -> None:
    run = prepare(batched(make_cfg, precision="64-true"))
    seen = record(run)
    run.trainer.fit(run.model, run.train)
    assert {view.dtype for views in seen for view in views} == {torch.float64}


def test_a_dry_run_says_what_it_costs(make_cfg) -> None:
    report = dry_run(batched(make_cfg, data__max_images=16 * 6))
    assert "loading included" in report["batch"]


def test_mistakes(make_cfg, tmp_path: Path) -> None:
    with refused(r"data\.augment: found 'batch', accepted: stock, batched \(nearest: batched\)"):
        prepare(make_cfg(data__augment="batch"))
    write_class_folders(tmp_path / "own", {"a": 20})
    Image.new("RGB", (7, 9)).save(tmp_path / "own" / "a" / "z.png")
    own = {"dataset": "custom", "train_path": str(tmp_path / "own"), "num_workers": 0, "augment": "batched"}
    with refused(r"data\.augment: found 'batched', but a/z\.png has 7 x 9 px"):
        prepare(make_cfg(data=own))
    assert not (tmp_path / "runs").exists()


def test_two_processes(tmp_path: Path) -> None:
    small = [
        *("data.max_images=64", "data.num_workers=0", "optimizer.batch_size=16", "data.augment=batched"),
        *("method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64", "backbone.stem_stride=2"),
        *("max_epochs=1", "limit_val_batches=0", "accelerator=cpu", "strategy=ddp", "devices=2"),
    ]
    done = run_cli("pretrain", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (tmp_path / "runs" / "pretrain").iterdir()
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 2
