"""``solo-intl pretrain``."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from solo_intl.commands.report import print_facts
from solo_intl.engine.dry_run import dry_run
from solo_intl.engine.pretrain import pretrain


def run(cfg: DictConfig) -> dict[str, Any]:
    """Pre-train as ``cfg`` says, or with ``dry_run`` only measure what that would cost."""
    if cfg.get("dry_run"):
        facts = dry_run(cfg)
        rank_zero_only(print_facts)("solo-intl pretrain --dry-run (nothing was written)", facts)
        return facts
    folder, final = pretrain(cfg)
    shown = {
        "run folder": folder,
        "epochs, steps": f"{final['epochs']}, {final['steps']}",
        "time": f"{final['seconds']:.1f} s, {final['images_per_second']:.0f} images/s",
    }
    for key, label in {
        "train_intl_loss_epoch": "INTL loss",
        "train_trace_excess_epoch": "trace excess over its floor",
        "val_acc1": "online linear top-1",
        "val_knn_acc1": "online k-NN top-1",
    }.items():
        if key in final["metrics"]:
            shown[label] = f"{final['metrics'][key]:.4g}"
    rank_zero_only(print_facts)("pre-training finished", shown)
    return {**final, "folder": str(folder)}
