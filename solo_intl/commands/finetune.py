"""``solo-intl finetune``: the paper's semi-supervised protocol."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from solo_intl.commands.frozen import Frozen, build_untrained, open_frozen
from solo_intl.commands.report import percent, print_facts
from solo_intl.config.evaluation import SUBSET_KEYS, evaluation_settings, finetune_settings
from solo_intl.engine.finetune import finetune, open_labelled
from solo_intl.engine.run_folder import plan_run_folder, write_json


def run(cfg: DictConfig) -> dict[str, Any]:
    """Fine-tune on a few labels; the last epoch's top-1 and top-5 on the validation split."""
    opened = _open(cfg)
    cfg = opened.cfg
    started = time.perf_counter()
    statistics = (opened.mean, opened.std)
    train, val = open_labelled(cfg, opened.image_size, statistics)
    folder = plan_run_folder(cfg.checkpoint.dir, "finetune", cfg.name)
    network = (opened.backbone, opened.features_dim, opened.built_from)
    metrics = finetune(cfg, network, (train, val), folder)
    final = {
        "command": "finetune",
        "checkpoint": str(opened.checkpoint) if opened.checkpoint else None,
        "network": opened.network,
        "dataset": cfg.data.dataset,
        "labelled_images": len(train),
        "validation_images": len(val),
        "seed": cfg.seed,
        "subset_seed": cfg.data.subset_seed,
        "epochs": cfg.max_epochs,
        "seconds": round(time.perf_counter() - started, 2),
        "metrics": metrics,
    }
    rank_zero_only(write_json)(folder / "metrics.json", final)
    rank_zero_only(print_facts)(
        "fine-tuning",
        {
            "checkpoint": opened.checkpoint or "none: from scratch",
            "network": opened.network,
            "data set": f"{cfg.data.dataset}, {len(train):,} labelled and {len(val):,} test images",
            "top-1": percent(metrics["top1"]),
            "top-5": percent(metrics["top5"]),
            "run folder": folder,
        },
    )
    return {**final, "folder": str(folder)}


def _open(cfg: DictConfig) -> Frozen:
    """The checkpoint's network, or with ``from_scratch`` an untrained one; settings checked."""
    cfg = evaluation_settings(cfg, "finetune")
    finetune_settings(cfg)
    if cfg.from_scratch:
        return build_untrained(cfg)
    # which images have labels is said here: the subset that pre-training took is another matter
    own = {key: cfg.data.get(key) for key in SUBSET_KEYS}
    opened = open_frozen(cfg, "finetune")
    opened.cfg.data.update(own)
    before, now = opened.built_from.data.dataset, opened.cfg.data.dataset
    if before != now:  # wanted or not: without a path the newest run is taken, whatever its images were
        note = f"solo-intl finetune: {opened.checkpoint} was pre-trained on {before}, fine-tuning on {now}"
        rank_zero_only(print)(note, file=sys.stderr)
    return opened
