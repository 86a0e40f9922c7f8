"""Claims: every bundled method that trains on this host takes real steps through the same door as INTL, with
the settings of its shipped YAML; its weights are finite and its backbone has learned; a validation pass and
online k-NN work; the checkpoint is read with ``weights_only`` and gives a network with features, and the
run goes on from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solo_intl import host
from solo_intl.config import SCRIPTS
from solo_intl.engine.pretrain import pretrain
from solo_intl.evaluation import load_backbone
from solo_intl.experiments.cell import read_config

TINY = (
    "+data.max_images=256",
    "data.num_workers=0",
    "backbone.stem_stride=2",
    "max_epochs=1",
    "precision=32-true",
    "accelerator=cpu",
    "+knn_eval={enabled: true, k: 3, distance_func: cosine}",
)


@pytest.mark.parametrize("method", sorted(host.METHODS))
def test_trains(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = read_config(SCRIPTS / "pretrain" / "digits", "intl" if method == "intl_ema" else method, list(TINY))
    cfg.method, cfg.checkpoint.dir = method, str(tmp_path)
    if method == "deepclusterv2":
        cfg.method_kwargs.num_prototypes = [10, 10, 10]
    longer = cfg.copy()
    before: dict[str, torch.Tensor] = {}
    original = host.METHODS[method].on_fit_start

    def remember(self) -> None:
        before.update({name: value.detach().clone() for name, value in self.backbone.named_parameters()})
        original(self)

    monkeypatch.setattr(host.METHODS[method], "on_fit_start", remember)
    folder, final = pretrain(cfg)
    assert final["steps"] == 2
    assert 0 <= final["metrics"]["val_acc1"] <= 100
    assert 0 <= final["metrics"]["val_knn_acc1"] <= 100
    saved = torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)
    state = saved["state_dict"]
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
    assert not any(key.startswith(("encoder.", "momentum_encoder.")) for key in state)
    assert not all(torch.equal(state[f"backbone.{name}"], value) for name, value in before.items()), (
        "the backbone did not learn"
    )
    loaded = load_backbone(Path(folder) / "checkpoints" / "last.ckpt")
    features = loaded.backbone(torch.rand(2, 3, 16, 16))
    assert features.shape == (2, loaded.features_dim)
    assert features.isfinite().all()
    longer.update({"max_epochs": 2, "limit_val_batches": 0, "knn_eval": {"enabled": False}})
    longer.resume_from_checkpoint = str(Path(folder) / "checkpoints" / "last.ckpt")
    _, final = pretrain(longer)
    assert (final["steps"], final["epochs"]) == (4, 2)


def test_every_method_of_this_host_is_covered():
    assert len(host.METHODS) == (21 if host.HOST.generation == host.HEAD else 16)
