"""Which checkpoint a run continues from, and its random draws from there on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.engine.run_folder import read_metrics
from solo_intl.engine.trainer import LAST
from solo_intl.errors import UserError
from solo_intl.evaluation import read_checkpoint

# what may differ between a run and the one it continues
_FREE = (
    *("resume_from_checkpoint", "auto_resume", "wandb", "tensorboard", "checkpoint", "name", "dry_run"),
    "monitor",
)


class DrawsAnew(Callback):
    """Seeds a run that goes on with what follows from its seed and the optimizer steps done.

    With the seed alone it would see the shuffles and augmentations of its first epoch again. A run that
    does not go on is left as it is.

    Args:
        seed: the run's own, a non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # here, not when training starts: by then the loader's workers have their seeds
        state = np.random.SeedSequence([self.seed, checkpoint["global_step"]]).generate_state(1)
        seed_everything(int(state[0]), workers=True, verbose=False)


def _comparable(cfg: DictConfig) -> dict[str, Any]:
    return {key: value for key, value in host.plain(cfg).items() if key not in _FREE}


def same_run(before: Any, now: DictConfig) -> bool:
    """Whether a complete configuration as config.yaml holds it describes the same training as another."""
    return isinstance(before, DictConfig) and _comparable(before) == _comparable(now)


def _resumed_from(folder: Path) -> str | None:
    try:
        return json.loads((folder / "environment.json").read_text()).get("resumed_from")
    except (OSError, ValueError):
        return None


def nothing_left(resume: Path | None) -> UserError:
    """The error of a checkpoint that has all its epochs."""
    return UserError(
        f"resume_from_checkpoint: {resume} has all its epochs, accepted: a greater max_epochs, "
        "or auto_resume.enabled=false to begin anew"
    )


def resume_checkpoint(cfg: DictConfig, command: str) -> Path | None:
    """``resume_from_checkpoint`` if given; with ``auto_resume`` the newest unfinished run of this config.

    Args:
        cfg: the complete configuration as config.yaml holds it.
        command: whose run folders to look through.

    Raises:
        UserError: the named checkpoint does not exist.
    """
    given = cfg.get("resume_from_checkpoint")
    if given:
        if not Path(given).is_file():
            raise UserError(
                f"resume_from_checkpoint: no file {given}, accepted: a checkpoint of the same run"
            )
        read_checkpoint(given)  # refuses in one line what is no checkpoint
        return Path(given)
    if not cfg.auto_resume.enabled:
        return None
    oldest = time.time() - 3600 * float(cfg.auto_resume.get("max_hours") or 36)
    runs = list((Path(cfg.checkpoint.dir) / command).glob(f"*/checkpoints/{LAST}.ckpt"))
    continued = {_resumed_from(run.parent.parent) for run in runs}
    for checkpoint in sorted(runs, key=lambda path: path.stat().st_mtime, reverse=True):
        folder = checkpoint.parent.parent
        if checkpoint.stat().st_mtime < oldest or (folder / "metrics.json").exists():
            continue
        if str(checkpoint) in continued:
            continue
        if not same_run(OmegaConf.load(folder / "config.yaml"), cfg):
            continue
        if readable(checkpoint, command):
            print(f"solo-intl {command}: auto_resume continues {checkpoint}")
            return checkpoint
        continued.discard(_resumed_from(folder))  # the one before it, then
    return None


def readable(checkpoint: Path, command: str) -> bool:
    """Whether it is there and whole; copied between file systems, it may have been cut short with its run."""
    if not checkpoint.is_file():
        return False
    try:
        read_checkpoint(checkpoint)
    except UserError as error:
        print(f"solo-intl {command}: passes over {error}")
        return False
    return True


def unclosed_folder(resume: Path | None) -> Path:
    """The run folder of a checkpoint with all its epochs, killed before its final figures were written.

    Raises:
        UserError: it has its final figures, or is in no run folder.
    """
    folder = resume.parent.parent if resume else Path()
    if not (folder / "metrics.csv").is_file() or (folder / "metrics.json").exists():
        raise nothing_left(resume)
    return folder


def last_metrics(folder: Path) -> dict[str, float]:
    """The last value of each column of the run's ``metrics.csv``."""
    return {
        name: value
        for row in read_metrics(folder)
        for name, value in row.items()
        if name not in ("epoch", "step")
    }
