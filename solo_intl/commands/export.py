"""``solo-intl export``: a backbone for another library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from solo_intl.commands.frozen import open_checkpoint
from solo_intl.commands.report import print_facts
from solo_intl.engine.run_folder import open_run_folder, plan_run_folder, write_json
from solo_intl.errors import not_accepted
from solo_intl.evaluation import LAYOUTS, export_backbone


def run(cfg: DictConfig) -> dict[str, Any]:
    """Write the online (or momentum) backbone of a checkpoint in another library's layout."""
    if cfg.get("to") not in LAYOUTS:
        raise not_accepted("to", cfg.get("to"), LAYOUTS)
    cfg, loaded = open_checkpoint(cfg, "export")
    cfg.data.dataset = loaded.cfg.data.dataset  # what holds, for config.yaml
    export = export_backbone(loaded, cfg.to)
    name = loaded.cfg.backbone.name
    folder = None
    if cfg.get("output"):
        file = Path(cfg.output).expanduser()
    else:
        folder = plan_run_folder(cfg.checkpoint.dir, "export", cfg.name)
        open_run_folder(folder, cfg)
        file = folder / f"{name}-{cfg.to}{LAYOUTS[cfg.to]}"
    export.write(file)
    usage = export.usage(file)
    final = {
        "command": "export",
        "checkpoint": str(loaded.path),
        "to": cfg.to,
        "file": str(file),
        "backbone": name,
        "network": loaded.network,
        "stem": export.stem,
        "usage": usage.splitlines(),
    }
    if folder is not None:
        write_json(folder / "metrics.json", final)
    facts = {"checkpoint": loaded.path, "backbone": f"{name}, {final['network']}", "file": file}
    if export.stem:
        facts["small-image stem"] = f"{export.stem}: give the library's network the same before loading"
    print_facts(f"exported to {cfg.to}", facts)
    print(usage)
    return {**final, "folder": str(folder) if folder else None}
