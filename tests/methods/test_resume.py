"""Claims: a method that goes on from the end of an epoch ends bit for bit where the straight run
does: momentum coefficient (with accumulation too), queues and memory included; one that goes on from inside
an epoch, as after a kill, takes the steps left, knows its epoch and prints its line; where the memory
has another size than in the checkpoint, a warning says so. A run that goes on, from either, shuffles and
augments as no part of the run before it did, the same way each time it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from solo_intl.engine.fit import fit
from solo_intl.engine.pretrain import Pretraining, prepare
from solo_intl.host.resume import ResumeMixin
from solo_intl.methods.intl_ema import momentum_coefficient

HEADS = {"proj_hidden_dim": 32, "proj_output_dim": 16}
KWARGS: dict[str, dict[str, Any]] = {
    "byol": {**HEADS, "pred_hidden_dim": 32},
    "deepclusterv2": {**HEADS, "num_prototypes": [8, 8], "kmeans_iters": 2},
    "dino": {**HEADS, "num_prototypes": 16, "warmup_teacher_temperature_epochs": 2, "freeze_last_layer": 0},
    "intl_ema": {**HEADS, "beta": 0.01},
    "swav": {**HEADS, "num_prototypes": 16, "queue_size": 32, "epoch_queue_starts": 1, "temperature": 0.1},
}


class SavesInside(Callback):
    """Writes a checkpoint inside the second epoch of two, after step 3 of 4."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.file)


class SameDraws(Callback):
    """The same random numbers in every epoch of every run, k-means' first centroids among them."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        torch.manual_seed(7 + trainer.current_epoch)


@pytest.fixture
def start(make_cfg: Callable[..., Any]) -> Callable[..., Pretraining]:
    def prepared(method: str, **more: Any) -> Pretraining:
        settings = {"momentum": {"base_tau": 0.5}} if method in ("byol", "dino", "intl_ema") else {}
        run = prepare(
            make_cfg(
                method=method,
                max_epochs=2,
                backbone={"name": "vit_tiny", "kwargs": {"patch_size": 8}},  # a fifth of ResNet-18's time
                checkpoint__keep_prev=True,
                **{"method_kwargs": KWARGS[method], **settings, **more},
            )
        )
        run.trainer.callbacks.append(SameDraws())
        return run

    return prepared


def train(run: Pretraining, resume: Path | None = None) -> dict[str, torch.Tensor]:
    images = [run.train.dataset[i] for i in range(len(run.train.dataset))]  # augmented once for all epochs
    batches = DataLoader(images, batch_size=run.cfg.optimizer.batch_size)
    fit(run.trainer, run.model, batches, run.val, run.folder, run.base_cfg, resume)
    return run.model.state_dict()


@pytest.mark.parametrize(
    ("method", "accumulated"), [("byol", 1), ("byol", 2), ("deepclusterv2", 1), ("dino", 1), ("swav", 1)]
)
def test_ends_where_the_straight_run_does(start: Callable[..., Pretraining], method: str, accumulated: int):
    more = {"data__max_images": 32 * accumulated, "accumulate_grad_batches": accumulated}
    run = start(method, **more)
    straight = train(run)
    half = run.folder / "checkpoints" / "epoch=0.ckpt"
    resumed = train(start(method, **more), half)
    assert run.trainer.global_step == 4
    different = [key for key, value in straight.items() if not torch.equal(value, resumed[key])]
    assert not different


@pytest.mark.parametrize("method", sorted(KWARGS))
def test_goes_on_inside_an_epoch(
    start: Callable[..., Pretraining], method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = start(method)
    run.trainer.callbacks.append(SavesInside(tmp_path / "inside.ckpt"))
    train(run)
    capsys.readouterr()
    again = start(method)
    taus: list[float] = []
    if method == "intl_ema":
        again.model.update_momentum = taus.append
    train(again, tmp_path / "inside.ckpt")
    assert again.trainer.global_step == 4
    assert "epoch 2/2" in capsys.readouterr().out
    if method == "intl_ema":
        assert taus == [momentum_coefficient(3, 4, 0.5, 1.0)]
    if method == "dino":
        assert again.model.dino_loss_func.epoch == 1
    if method == "deepclusterv2":
        assert (again.model.assignments >= 0).any()


def test_memory_of_another_size_starts_anew(start: Callable[..., Pretraining]):
    run = start("swav")
    train(run)
    half = run.folder / "checkpoints" / "epoch=0.ckpt"
    other = start("swav", method_kwargs={**KWARGS["swav"], "queue_size": 48})
    with pytest.warns(UserWarning, match=r"queue is \[2, 48, 16\] in this run and \[2, 32, 16\]"):
        train(other, half)


def test_a_cache_that_a_new_model_lacks_is_left_out():
    """All4One's, which only HEAD has, in a module of its own."""

    class Base(torch.nn.Module):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            pass

    class Model(ResumeMixin, Base):
        pass

    model = Model()
    model.head = torch.nn.Linear(2, 2)
    state = {**model.state_dict(), "pos_enc.penc.cached_penc": torch.ones(3)}
    model.on_load_checkpoint({"state_dict": state})
    model.load_state_dict(state)


class Seen(Callback):
    """The order of the images in the first epoch that a run takes, and the first view of each."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.views: dict[int, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        index, views, _ = batch
        if len(self.order) < 32:
            self.order += index.tolist()
            self.views |= dict(zip(index.tolist(), views[0].clone(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_draws_anew(make_cfg: Callable[..., Any], tmp_path: Path, workers: int):
    def see(resume: Path | None = None, *more: Callback) -> Seen:
        small = {"name": "vit_tiny", "kwargs": {"patch_size": 8}}
        cfg = make_cfg(max_epochs=2, backbone=small, checkpoint__keep_prev=True, data__num_workers=workers)
        run, seen = prepare(cfg), Seen()
        run.trainer.callbacks.extend([seen, *more])
        fit(run.trainer, run.model, run.train, run.val, run.folder, run.base_cfg, resume)
        folders.append(run.folder)
        return seen

    folders: list[Any] = []
    inside = tmp_path / "inside.ckpt"
    straight = see(None, SavesInside(inside))
    half = folders[0] / "checkpoints" / "epoch=0.ckpt"
    parts = [straight, see(half), see(inside)]
    for number, one in enumerate(parts):
        for other in parts[:number]:
            both = one.views.keys() & other.views.keys()
            assert one.order != other.order[: len(one.order)]
            assert not any(torch.equal(one.views[image], other.views[image]) for image in both)
    again = see(half)
    assert again.order == parts[1].order
    assert all(torch.equal(view, parts[1].views[image]) for image, view in again.views.items())
