"""Claims: INTL takes any two views or more, of any sizes: each is one forward of its own, all embeddings
reach the n-view loss, the classifier and k-NN see the large ones; with and without momentum network
the shipped six-view YAML trains through the command line; transformers take views smaller than their own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from method_runs import embed, fixed_batches, record_inputs, views_of

from solo_intl.cli import main
from solo_intl.engine.pretrain import prepare, pretrain
from solo_intl.losses import intl_loss_func, trace_loss_floor

SIX = (16, 16, 14, 12, 8, 8)  # six views, the first two of one size, as in Table B


@pytest.mark.parametrize("sizes", [SIX, (16, 16), (16, 16, 16), (16, 12), (8, 16, 8)])
def test_every_view_is_one_forward_and_all_reach_the_loss(make_cfg, sizes: tuple[int, ...]):
    settings = {"data__max_images": 16, "log_every_n_steps": 1, "method_kwargs__beta": 0.3}
    knn = {"enabled": True, "k": 3, "distance_func": "euclidean"}
    run, by_hand = (prepare(views_of(make_cfg(knn_eval=knn, **settings), sizes)) for _ in range(2))
    batches = fixed_batches(run)
    views = next(iter(batches))[1]
    same = by_hand.model.train()
    expected = intl_loss_func(embed(same.backbone, same.projector, views), beta=0.3)
    expected.loss.backward()

    seen, classified = record_inputs(run.model.backbone), record_inputs(run.model.classifier)
    neighbours: list[torch.Tensor] = []
    run.model.knn.register_forward_pre_hook(
        lambda module, args, kwargs: neighbours.append(kwargs["train_features"]), with_kwargs=True
    )
    run.trainer.fit(run.model, batches)
    large = sizes.count(sizes[0])
    assert [tuple(x.shape) for x in seen] == [(16, 3, size, size) for size in sizes]
    assert all(torch.equal(x, view) for x, view in zip(seen, views, strict=True))
    assert len(classified) == large
    torch.testing.assert_close(neighbours[0], torch.cat(classified))

    logged = run.trainer.logged_metrics
    for name, value in zip(("intl_loss", "invariance", "trace"), expected, strict=True):
        assert float(logged[f"train_{name}_step"]) == pytest.approx(value.item(), rel=1e-5)
    excess = expected.trace.item() - 2 * trace_loss_floor(16, rank=16)
    assert float(logged["train_trace_excess_step"]) == pytest.approx(excess, rel=1e-4)
    for name in ("projector.6.weight", "projector.0.weight", "backbone.layer4.1.conv2.weight"):
        found = run.model.get_parameter(name).grad
        torch.testing.assert_close(found, same.get_parameter(name).grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["intl", "intl_ema"])
def test_transformers_take_smaller_views(make_cfg, method: str):
    cfg = views_of(make_cfg(method=method, data__max_images=16), (16, 16, 8))
    cfg.backbone = {"name": "vit_tiny", "kwargs": {"patch_size": 4}}
    final = pretrain(cfg)[1]
    assert final["steps"] == 1
    assert math.isfinite(final["metrics"]["train_intl_loss_epoch"])


@pytest.mark.parametrize("form", ["multicrop", "ema", "ema_multicrop"])
def test_the_shipped_yaml_trains_for_an_epoch(tmp_path: Path, form: str, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = ["--config-path=scripts/pretrain/fashion-mnist", f"--config-name=intl_{form}"]
    # digits, because they are on every machine; crops, method and coefficients stay the file's
    small = ["data.dataset=digits", "data.max_images=96", "optimizer.batch_size=32", "data.num_workers=0"]
    narrow = ["method_kwargs.proj_hidden_dim=32", "method_kwargs.proj_output_dim=64", "max_epochs=1"]
    online = ["knn_eval.enabled=true", "knn_eval.k=3", "check_val_every_n_epoch=1"]
    assert main(["pretrain", *yaml, *small, *narrow, *online]) == 0
    (folder,) = (tmp_path / "runs" / "pretrain").iterdir()
    final = json.loads((folder / "metrics.json").read_text())
    assert final["steps"] == 3
    assert all(math.isfinite(value) for value in final["metrics"].values())
    assert 0 <= final["metrics"]["val_knn_acc1"] <= 100
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert any(key.startswith("momentum_") for key in saved["state_dict"]) == ("ema" in form)
    assert [view["crop_size"] for view in saved["solo_intl"]["cfg"]["augmentations"]] == (
        [28, 28, 24, 20, 16, 12] if "multicrop" in form else [28, 28]
    )
