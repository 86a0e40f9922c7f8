"""Write solo_learn_settings.json: the facts in solo-learn HEAD's own YAML, for test_baselines.py.

python tests/scripts/record_solo_learn.py CHECKOUT
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

DATASETS = ("cifar", "imagenet-100")
SECTIONS = ("method_kwargs", "momentum", "optimizer", "scheduler")
FILES = {"barlow": "barlow_twins"}  # the only file not named as its method
OTHER_NETWORKS = ("dino_vit", "mocov3_vit")


def number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text."""
    if isinstance(value, dict):
        return {key: number(inner) for key, inner in value.items()}
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def view(entry: dict[str, Any]) -> dict[str, Any]:
    """One augmentation entry without the `enabled` that only `rrc` obeys."""
    kept = {}
    for key, value in entry.items():
        plain = isinstance(value, dict) and key != "rrc"
        kept[key] = {k: v for k, v in value.items() if k != "enabled"} if plain else value
    return kept


def settings(file: Path) -> dict[str, Any]:
    cfg = yaml.safe_load(file.read_text())
    group = next(
        (d["augmentations"] for d in cfg["defaults"] if isinstance(d, dict) and "augmentations" in d), None
    )
    views = cfg.get("augmentations") or yaml.safe_load((file.parent / "augmentations" / group).read_text())
    return {
        "file": f"{file.parent.name}/{file.name}",
        **{section: number(cfg.get(section) or {}) for section in SECTIONS},
        "backbone": cfg["backbone"],
        "max_epochs": cfg["max_epochs"],
        "devices": len(cfg["devices"]),
        "augmentations": [view(entry) for entry in views],
    }


def main(checkout: Path) -> None:
    commit = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    record: dict[str, Any] = {"source": "vturrisi/solo-learn, scripts/pretrain", "commit": commit}
    for dataset in DATASETS:
        files = sorted((checkout / "scripts" / "pretrain" / dataset).glob("*.yaml"))
        record[dataset] = {
            FILES.get(file.stem, file.stem): settings(file)
            for file in files
            if file.stem not in OTHER_NETWORKS
        }
    target = Path(__file__).with_name("solo_learn_settings.json")
    target.write_text(json.dumps(record, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
