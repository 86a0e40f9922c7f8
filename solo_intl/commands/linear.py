"""``solo-intl linear``: the paper's two linear protocols."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from solo_intl.commands.frozen import open_frozen
from solo_intl.commands.report import percent, print_facts
from solo_intl.config.evaluation import check_last_epoch, linear_settings
from solo_intl.engine.linear_sgd import linear_sgd
from solo_intl.engine.run_folder import open_run_folder, plan_run_folder, write_json
from solo_intl.errors import UserError, not_accepted
from solo_intl.evaluation import adam_probe

PROTOCOLS = {"sgd": ("sgd", "lars"), "adam": ("adam",)}  # and the optimizers each may be told to use


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train a linear layer on a frozen backbone; last epoch's top-1 and top-5 on the validation split."""
    protocol = cfg.get("protocol") or "sgd"
    if protocol not in PROTOCOLS:
        raise not_accepted("protocol", protocol, PROTOCOLS)
    for key in ("finetune", "auto_augment", "label_smoothing", "mixup", "cutmix"):
        if cfg.get(key):
            raise UserError(
                f"{key}: found {cfg[key]!r}, accepted: false or 0; the paper's linear protocols use none"
            )
    frozen = open_frozen(cfg, "linear")
    cfg = frozen.cfg
    linear_settings(cfg, PROTOCOLS[protocol])
    if protocol == "sgd":
        check_last_epoch(cfg)
    started = time.perf_counter()
    folder = plan_run_folder(cfg.checkpoint.dir, "linear", cfg.name)
    if protocol == "sgd":
        metrics: dict[str, Any] = linear_sgd(
            cfg, frozen.backbone, frozen.image_size, (frozen.mean, frozen.std), folder
        )
    else:
        train, val = (frozen.features(frozen.split(split)) for split in ("train", "val"))
        probe = adam_probe(
            train,
            val,
            epochs=cfg.max_epochs,
            lr=cfg.optimizer.lr,
            final_lr=cfg.optimizer.get("final_lr", 1e-6),
            weight_decay=cfg.optimizer.weight_decay,
            batch_size=cfg.optimizer.batch_size,
            seed=cfg.seed,
        )
        metrics = probe.metrics
        open_run_folder(folder, cfg)
    final = {
        "command": "linear",
        "protocol": protocol,
        "checkpoint": str(frozen.checkpoint),
        "network": frozen.network,
        "dataset": cfg.data.dataset,
        "seconds": round(time.perf_counter() - started, 2),
        "metrics": metrics,
    }
    rank_zero_only(write_json)(folder / "metrics.json", final)
    rank_zero_only(print_facts)(
        f"linear evaluation ({protocol})",
        {
            "checkpoint": frozen.checkpoint,
            "network": frozen.network,
            "data set": cfg.data.dataset,
            "top-1": percent(metrics["top1"]),
            "top-5": percent(metrics.get("top5")),
            "run folder": folder,
        },
    )
    return {**final, "folder": str(folder)}
