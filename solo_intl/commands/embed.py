"""``solo-intl embed``."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from solo_intl.commands.frozen import open_frozen
from solo_intl.commands.report import print_facts
from solo_intl.data import open_split
from solo_intl.engine.run_folder import open_run_folder, plan_run_folder, write_json
from solo_intl.errors import not_accepted
from solo_intl.evaluation import FORMATS, write_embeddings


def run(cfg: DictConfig) -> dict[str, Any]:
    """Write features and file names of a folder, or of one split of the pre-training data."""
    if cfg.get("format") not in FORMATS:
        raise not_accepted("format", cfg.get("format"), FORMATS)
    frozen = open_frozen(cfg, "embed")
    cfg = frozen.cfg
    if cfg.get("folder"):
        own = {"dataset": "custom", "train_path": str(cfg.folder), "no_labels": True}
        dataset = open_split(own, "train", frozen.transform)
    else:
        dataset = frozen.split(cfg.get("split") or "val")
    features = frozen.features(dataset)
    folder = plan_run_folder(cfg.checkpoint.dir, "embed", cfg.name)
    open_run_folder(folder, cfg)
    files = write_embeddings(features, dataset.classes, folder, format=cfg.format)
    final = {
        "command": "embed",
        "checkpoint": str(frozen.checkpoint),
        "network": frozen.network,
        "images": len(features.names),
        "dimensions": int(features.x.shape[1]),
        "files": [file.name for file in files],
    }
    write_json(folder / "metrics.json", final)
    print_facts(
        "features written",
        {
            "images": f"{len(features.names):,}",
            "dimensions": features.x.shape[1],
            "files": ", ".join(str(file) for file in files),
        },
    )
    return {**final, "folder": str(folder)}
