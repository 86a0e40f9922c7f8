"""Claims: INTL trains through ResNet-18, ResNet-50 and ViT; what it logs is the loss of the embeddings it
saw, its parts and the excess over the attainable floor; the rate starts at 0, peaks at base x batch / 256 and
ends at a thousandth of that; it warns in one line where the method cannot work; it registers once; it keeps
the paper's projector; label-free images train without NaN; a diverged run names the step; batches whose
gradients are accumulated are whitened one by one, which it says."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from solo_intl import host, register
from solo_intl.config import pretrain_settings
from solo_intl.engine.pretrain import prepare, pretrain
from solo_intl.errors import UserError
from solo_intl.losses import default_beta, intl_loss_func, trace_loss_floor
from solo_intl.methods import INTL, projector

VIT = {"name": "vit_tiny", "kwargs": {"patch_size": 4}}


@pytest.mark.parametrize(
    "backbone", [{"name": "resnet18"}, {"name": "resnet50"}, VIT], ids=lambda b: b["name"]
)
def test_one_real_step(make_cfg, backbone: dict):
    cfg = make_cfg(data__max_images=16)
    cfg.backbone = {"kwargs": {}, "stem_stride": 2, **backbone}
    run = prepare(cfg)
    before = [p.detach().clone() for p in run.model.backbone.parameters()]
    run.model.cfg.optimizer.lr = 0.1
    run.trainer.fit(run.model, run.train)
    assert run.trainer.global_step == 1
    moved = [not torch.equal(a, b) for a, b in zip(before, run.model.backbone.parameters(), strict=True)]
    assert all(p.isfinite().all() for p in run.model.parameters())
    assert sum(moved) > 0.9 * len(moved)


def test_logged_parts_are_the_loss_of_the_embeddings(make_cfg):
    cfg = make_cfg(data__max_images=16, method_kwargs__beta=0.3, log_every_n_steps=1)
    run = prepare(cfg)
    seen: list[torch.Tensor] = []
    run.model.projector.register_forward_hook(lambda module, args, out: seen.append(out.detach().clone()))
    run.trainer.fit(run.model, run.train)
    views = seen[:2]
    expected = intl_loss_func(views, beta=0.3)
    logged = run.trainer.logged_metrics
    assert float(logged["train_intl_loss_step"]) == pytest.approx(float(expected.loss), rel=1e-6)
    assert float(logged["train_invariance_step"]) == pytest.approx(float(expected.invariance), rel=1e-6)
    assert float(logged["train_trace_step"]) == pytest.approx(float(expected.trace), rel=1e-6)
    excess = float(expected.trace) - 2 * trace_loss_floor(16, rank=16)
    assert float(logged["train_trace_excess_step"]) == pytest.approx(excess, rel=1e-5)
    assert excess > 0


def test_excess_uses_the_attainable_rank(make_cfg):
    cfg = make_cfg(
        data__max_images=16, method_kwargs__proj_output_dim=8, method_kwargs__beta=0.3, log_every_n_steps=1
    )
    run = prepare(cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.trainer.fit(run.model, run.train)
    logged = run.trainer.logged_metrics
    excess = float(logged["train_trace_step"]) - 2 * trace_loss_floor(16, rank=7)
    assert float(logged["train_trace_excess_step"]) == pytest.approx(excess, rel=1e-5)


def _rates(folder: Path) -> list[float]:
    name = "lr-SGD/projector"  # the backbone's group is called `encoder` on 1.0.2
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_learning_rate_from_zero_to_a_thousandth(make_cfg):
    cfg = make_cfg(max_epochs=5, scheduler={"name": "warmup_cosine"}, log_every_n_steps=1)
    folder, final = pretrain(cfg)
    rates = _rates(folder)
    peak, total, warmup = 0.3 * 16 / 256, 10, 4
    assert final["steps"] == total
    assert len(rates) == total
    for step, rate in enumerate(rates):
        if step < warmup:
            expected = peak * step / warmup
        else:
            q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            expected = peak * (q + 1e-3 * (1 - q))
        assert rate == pytest.approx(expected, rel=1e-6, abs=1e-12), step
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    # the rate after the last step, which the schedule has already set
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(peak * 1e-3)


def test_rates_that_the_configuration_states_win(make_cfg):
    schedule = {"name": "warmup_cosine", "min_lr": 0.01, "warmup_start_lr": 0.001, "warmup_epochs": 1}
    folder, _ = pretrain(make_cfg(max_epochs=2, scheduler=schedule, log_every_n_steps=1))
    assert _rates(folder)[0] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"method_kwargs__proj_output_dim": 16, "method_kwargs__beta": 0.1},
            "not smaller than the embedding size 16",
        ),
        ({"method_kwargs__beta": 0.0}, "beta is 0"),
        (
            {"accumulate_grad_batches": 3},
            "accumulate_grad_batches=3 .* whitening and beta see the 16 images of one batch, not 48",
        ),
        (
            {"accumulate_grad_batches": 2, "method": "intl_ema"},
            "accumulate_grad_batches=2 .* whitening and beta see the 16 images of one batch, not 32",
        ),
    ],
)
def test_warnings_are_one_line(make_cfg, overrides: dict, message: str):
    run = prepare(make_cfg(data__max_images=16, **overrides))
    with pytest.warns(UserWarning, match=message) as caught:
        run.trainer.fit(run.model, run.train)
    texts = [str(w.message) for w in caught if "INTL:" in str(w.message)]
    assert len(texts) == 1
    assert "\n" not in texts[0]


def test_accumulated_batches_are_whitened_one_by_one(make_cfg):
    run = prepare(make_cfg(data__max_images=32, accumulate_grad_batches=2))
    losses: list[torch.Tensor] = []

    def compare(module: Any, args: Any, out: Any) -> None:
        (views,) = (arg for arg in args if arg is not None)
        assert [len(z) for z in views] == [16, 16]
        torch.testing.assert_close(out.loss, intl_loss_func(views, beta=default_beta(16)).loss)
        losses.append(out.loss)

    run.model.loss.register_forward_hook(compare)
    run.trainer.fit(run.model, run.train)
    assert (len(losses), run.trainer.global_step) == (2, 1)


def test_no_warning_on_sound_settings(make_cfg):
    run = prepare(make_cfg(data__max_images=16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.trainer.fit(run.model, run.train)
    assert not [w for w in caught if "INTL:" in str(w.message)]


def test_batch_too_small_for_the_beta_rule_is_named(make_cfg):
    run = prepare(make_cfg(data__max_images=16, optimizer__batch_size=8))
    with pytest.raises(UserError, match=r"method_kwargs.beta: found null"):
        run.trainer.fit(run.model, run.train)


def test_non_finite_embedding_names_the_step(make_cfg):
    run = prepare(make_cfg(data__max_images=16, log_every_n_steps=1))
    with torch.no_grad():
        run.model.projector[-1].weight.fill_(float("nan"))
    with pytest.raises(UserError, match=r"INTL, step 0: .*non-finite"):
        run.trainer.fit(run.model, run.train)


@pytest.mark.parametrize("method", ["intl", "vicreg"])
def test_label_free_images_train_without_nan(make_cfg, tmp_path: Path, method: str):
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path / "photos"
    folder.mkdir()
    for i, scan in enumerate(load_digits().images[:20]):
        Image.fromarray((scan * 15.9).astype("uint8")).save(folder / f"{i:02d}.png")
    cfg = make_cfg(log_every_n_steps=1, method=method)
    cfg.data = {"dataset": "custom", "train_path": str(folder), "no_labels": True, "num_workers": 0}
    out, final = pretrain(cfg)
    assert final["metrics"]["train_class_loss_epoch"] == 0.0
    assert all(math.isfinite(value) for value in final["metrics"].values())
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["state_dict"]["classifier.weight"].shape[0] == 1
    assert state["state_dict"]["classifier.weight"].isfinite().all()


def test_register_is_idempotent_and_reaches_solo_learns_registry():
    register()
    register()
    assert host.SOLO_METHODS["intl"] is host.METHODS["intl"] is INTL
    from solo.methods import METHODS

    assert METHODS["intl"] is INTL


def test_projector_is_the_papers():
    layers = list(projector(512, 2048, 128))
    assert [type(layer) for layer in layers] == [
        nn.Linear,
        nn.BatchNorm1d,
        nn.ReLU,
        nn.Linear,
        nn.BatchNorm1d,
        nn.ReLU,
        nn.Linear,
    ]
    assert [layer.bias is not None for layer in layers if isinstance(layer, nn.Linear)] == [
        False,
        False,
        True,
    ]
    assert [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)] == [
        (2048, 512),
        (2048, 2048),
        (128, 2048),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"method_kwargs__proj_output_dim": 1}, "method_kwargs.proj_output_dim: found 1"),
        ({"method_kwargs__iterations": -1}, "method_kwargs.iterations: found -1"),
        ({"method_kwargs__axis": "chanel"}, "method_kwargs.axis: found 'chanel'"),
        ({"method_kwargs__beta": "big"}, "method_kwargs.beta: found 'big'"),
    ],
)
def test_mistakes_in_method_kwargs(make_cfg, overrides: dict, message: str):
    cfg = pretrain_settings(make_cfg(**overrides))
    cfg.data.num_classes = 10
    with pytest.raises(UserError, match=message):
        INTL(cfg)


def test_fp32_island_under_bf16(make_cfg):
    run = prepare(make_cfg(data__max_images=16, precision="bf16-mixed"))
    dtypes: list[torch.dtype] = []
    run.model.loss.register_forward_hook(lambda module, args, out: dtypes.append(out.loss.dtype))
    run.trainer.fit(run.model, run.train)
    assert dtypes == [torch.float32]
