"""``solo-intl linear``: the paper's two linear protocols."""

from __future__ import annotations

import time
from typing import Any

from omegaconf import DictConfig

from solo_intl.commands.frozen import open_frozen
from solo_intl.commands.report import percent, print_facts
from solo_intl.engine.linear_sgd import linear_sgd
from solo_intl.engine.run_folder import open_run_folder, plan_run_folder, write_json
from solo_intl.errors import UserError, nearest
from solo_intl.evaluation import adam_probe

PROTOCOLS = ("sgd", "adam")


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train a linear layer on a frozen backbone; last epoch's top-1 and top-5 on the validation split."""
    protocol = cfg.get("protocol") or "sgd"
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol: found {protocol!r}, {nearest(str(protocol), PROTOCOLS)}")
    for key in ("finetune", "auto_augment", "label_smoothing", "mixup", "cutmix"):
        if cfg.get(key):
            raise UserError(
                f"{key}: found {cfg[key]!r}, accepted: false or 0; the paper's linear protocols use none"
            )
    frozen = open_frozen(cfg, "linear")
    cfg = frozen.cfg
    started = time.perf_counter()
    folder = plan_run_folder(cfg.checkpoint.dir, "linear", cfg.name)
    if protocol == "sgd":
        metrics: dict[str, Any] = linear_sgd(cfg, frozen.backbone, frozen.image_size, folder)
    else:
        train, val = (frozen.features(frozen.split(split)) for split in ("train", "val"))
        probe = adam_probe(
            train,
            val,
            epochs=int(cfg.max_epochs),
            lr=float(cfg.optimizer.lr),
            final_lr=float(cfg.optimizer.get("final_lr") or 1e-6),
            weight_decay=float(cfg.optimizer.weight_decay),
            batch_size=int(cfg.optimizer.batch_size),
            seed=int(cfg.seed),
        )
        metrics = probe.metrics
        open_run_folder(folder, cfg)
    final = {
        "command": "linear",
        "protocol": protocol,
        "checkpoint": str(frozen.checkpoint),
        "dataset": cfg.data.dataset,
        "seconds": round(time.perf_counter() - started, 2),
        "metrics": metrics,
    }
    write_json(folder / "metrics.json", final)
    print_facts(
        f"linear evaluation ({protocol})",
        {
            "checkpoint": frozen.checkpoint,
            "data set": cfg.data.dataset,
            "top-1": percent(metrics["top1"]),
            "top-5": percent(metrics.get("top5")),
            "run folder": folder,
        },
    )
    return {**final, "folder": str(folder)}
