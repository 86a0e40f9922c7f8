"""The same budget for every method: epochs, or minutes of wall-clock time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.config.settings import check_number
from solo_intl.engine.dry_run import seconds_per_epoch
from solo_intl.engine.run_folder import write_json
from solo_intl.errors import UserError

BUDGET_FILE = "budget.json"


def check_budget(cfg: DictConfig) -> dict[str, Any]:
    """``budget`` of a comparison: ``max_epochs``, or ``minutes`` a cell, or nothing.

    Raises:
        UserError: both are given, or one is not positive.
    """
    budget = {key: value for key, value in (host.plain(cfg.get("budget")) or {}).items() if value is not None}
    if len(budget) > 1:
        raise UserError("budget: found max_epochs and minutes, accepted: one of them")
    for key in budget:
        check_number(cfg, f"budget.{key}", integer=key == "max_epochs")
    return budget


def within_minutes(cfg: DictConfig, minutes: float, folder: Path) -> DictConfig:
    """``cfg`` with as many epochs as fit into ``minutes`` on this machine, and ``max_time`` as the limit.

    The schedule of the learning rate must end with the run, so the epochs are counted before it begins, from
    a few real steps; a run that goes on after it was killed keeps the number it began with.

    Args:
        cfg: a cell's configuration.
        minutes: of pre-training, validation included.
        folder: the cell's, where the number is kept.

    Raises:
        UserError: not even one epoch fits.
    """
    file = folder / BUDGET_FILE
    if file.is_file():
        epochs = int(json.loads(file.read_text())["max_epochs"])
    else:
        seconds = seconds_per_epoch(cfg)
        epochs = int(60 * minutes / seconds)
        if epochs < 1:
            raise UserError(
                f"budget.minutes: found {minutes}, but an epoch of {cfg.method} takes {seconds / 60:.2f}; "
                "accepted: at least that"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"minutes": minutes, "max_epochs": epochs, "seconds_per_epoch": round(seconds, 2)})
    limit = {"max_epochs": epochs, "max_time": {"seconds": round(60 * minutes)}}
    return DictConfig(OmegaConf.merge(cfg, limit))
