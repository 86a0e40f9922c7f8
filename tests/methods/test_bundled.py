"""Claims: every bundled method that trains on this host takes real steps through the same door as INTL,
with finite weights afterwards, a validation pass, and a checkpoint that ``weights_only`` can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solo_intl import host
from solo_intl.engine.pretrain import pretrain

PROJECTOR = {"proj_hidden_dim": 32, "proj_output_dim": 16}
PREDICTOR = {**PROJECTOR, "pred_hidden_dim": 16}
MOMENTUM = {"momentum": {"base_tau": 0.99, "final_tau": 1.0}}
KWARGS: dict[str, dict] = {
    "intl": {"proj_hidden_dim": 32, "proj_output_dim": 64},
    "intl_ema": {"proj_hidden_dim": 32, "proj_output_dim": 64},
    "all4one": {**PREDICTOR, "temperature": 0.2, "queue_size": 64},
    "barlow_twins": PROJECTOR,
    "byol": PREDICTOR,
    "deepclusterv2": {**PROJECTOR, "num_prototypes": [8, 8, 8], "temperature": 0.1, "kmeans_iters": 2},
    "dino": {**PROJECTOR, "num_prototypes": 32},
    "mocov2plus": {**PROJECTOR, "temperature": 0.2, "queue_size": 64},
    "mocov3": {**PREDICTOR, "temperature": 0.2},
    "nnbyol": {**PREDICTOR, "queue_size": 64},
    "nnclr": {**PREDICTOR, "temperature": 0.2, "queue_size": 64},
    "nnsiam": {**PREDICTOR, "queue_size": 64},
    "ressl": {**PROJECTOR, "temperature_q": 0.1, "temperature_k": 0.04, "queue_size": 64},
    "simclr": {**PROJECTOR, "temperature": 0.2},
    "simsiam": PREDICTOR,
    "supcon": {**PROJECTOR, "temperature": 0.2},
    "swav": {**PROJECTOR, "temperature": 0.1, "num_prototypes": 16, "queue_size": 64},
    "vibcreg": {**PROJECTOR, "iternorm": False},
    "vicreg": PROJECTOR,
    "wmse": {**PROJECTOR, "proj_output_dim": 8, "whitening_size": 16},
}
NEED_MOMENTUM = ("byol", "dino", "mocov2plus", "mocov3", "nnbyol", "ressl", "all4one")
# masked autoencoding has no ResNet form: its two views and settings are another kind of configuration
ELSEWHERE = {"mae"}


@pytest.mark.parametrize("method", sorted(set(host.METHODS) - ELSEWHERE))
def test_trains(method: str, make_cfg, monkeypatch: pytest.MonkeyPatch):
    cfg = make_cfg(method=method, name=method, knn_eval={"enabled": True, "k": 3, "distance_func": "cosine"})
    cfg.method_kwargs = KWARGS[method]
    if method in NEED_MOMENTUM:
        cfg.update(MOMENTUM)
    before: dict[str, torch.Tensor] = {}
    original = host.METHODS[method].on_fit_start

    def remember(self) -> None:
        before["conv"] = self.backbone.layer4[1].conv2.weight.detach().clone()
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
    assert not torch.equal(state["backbone.layer4.1.conv2.weight"], before["conv"]), (
        "the backbone did not learn"
    )


def test_every_method_of_this_host_is_covered():
    assert set(host.METHODS) - ELSEWHERE <= set(KWARGS)
    assert len(host.METHODS) == (21 if host.HOST.generation == host.HEAD else 16)
