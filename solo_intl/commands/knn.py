"""``solo-intl knn``."""

from __future__ import annotations

import time
from typing import Any

from omegaconf import DictConfig

from solo_intl.commands.frozen import open_frozen
from solo_intl.commands.report import percent, print_facts
from solo_intl.engine.run_folder import open_run_folder, plan_run_folder, write_json
from solo_intl.evaluation import knn_accuracy


def run(cfg: DictConfig) -> dict[str, Any]:
    """Classify the validation split by its nearest training features."""
    frozen = open_frozen(cfg, "knn")
    cfg = frozen.cfg
    started = time.perf_counter()
    train, val = (frozen.features(frozen.split(split)) for split in ("train", "val"))
    metrics = knn_accuracy(
        train, val, k=cfg.k, distance=cfg.distance, vote=cfg.vote, temperature=cfg.temperature
    )
    folder = plan_run_folder(cfg.checkpoint.dir, "knn", cfg.name)
    open_run_folder(folder, cfg)
    final = {
        "command": "knn",
        "checkpoint": str(frozen.checkpoint),
        "network": frozen.network,
        "dataset": cfg.data.dataset,
        "seconds": round(time.perf_counter() - started, 2),
        "metrics": metrics,
    }
    write_json(folder / "metrics.json", final)
    print_facts(
        f"k-NN (k = {cfg.k}, {cfg.distance}, {cfg.vote})",
        {
            "checkpoint": frozen.checkpoint,
            "network": frozen.network,
            "data set": f"{cfg.data.dataset}, {len(train.y):,} training and {len(val.y):,} test images",
            "top-1": percent(metrics["top1"]),
            "top-5": percent(metrics.get("top5")),
            "run folder": folder,
        },
    )
    return {**final, "folder": str(folder)}
