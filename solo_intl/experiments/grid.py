"""The cells of a comparison: which there are, with which settings, and what each has come to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_intl import host
from solo_intl.config import pretrain_settings
from solo_intl.config.compose import config_folder
from solo_intl.data import dataset_info
from solo_intl.engine.precision import uses_gpu
from solo_intl.engine.run_folder import read_json
from solo_intl.errors import UserError, not_accepted
from solo_intl.experiments.budget import check_budget
from solo_intl.experiments.cell import read_config

RAW, UNTRAINED = "raw pixels", "untrained"  # what a method has to beat
RESULT = "result.json"
_ROW = re.compile(r"(.+)-x([\d.e+-]+)")
FOREVER = 24 * 365 * 100  # hours
_NOT_OF_THE_TRAINING = ("name", "seed", "checkpoint", "auto_resume")


@dataclass(frozen=True)
class Cell:
    """One network at one seed: a method's, or one that a method has to beat."""

    name: str
    cfg: DictConfig
    file: str = ""  # of the method's settings, which its rates share; none for what a method has to beat
    minutes: float | None = None  # of pre-training; None: the epochs that cfg states

    @property
    def folder(self) -> Path:
        return Path(self.cfg.checkpoint.dir)

    @property
    def settings(self) -> dict[str, Any]:
        """What the cells of one method share, whatever the seed."""
        stated = {
            key: value for key, value in host.plain(self.cfg).items() if key not in _NOT_OF_THE_TRAINING
        }
        return json.loads(json.dumps(stated))  # as a file gives them back

    @property
    def result(self) -> dict[str, Any]:
        """What the cell wrote; empty if it has not ended, or is just being tried again."""
        return read_json(self.folder / RESULT)

    @property
    def finished(self) -> bool:
        """Failed cells are tried again."""
        return "accuracies" in self.result


def cells_of(cfg: DictConfig, folder: Path) -> Iterator[Cell]:
    """The grid that a comparison's configuration states, seed by seed.

    Args:
        cfg: the configuration of ``solo-intl compare``.
        folder: where the cells will be.

    Raises:
        UserError: unknown method, a value out of range, or settings that a method's pre-training refuses.
    """
    place = config_folder(cfg.pretrain)
    files = sorted(file.stem for file in place.glob("*.yaml"))
    known = [name for name in files if name in host.METHODS]
    wanted = _wanted(cfg, known)
    for name in wanted:
        if name not in files:
            raise not_accepted("methods", name, files)
    if not wanted:
        raise UserError(f"methods: found none with a file in {place}, accepted: {', '.join(host.METHODS)}")
    baseline = "intl" if "intl" in known else wanted[0]  # whose data and network the baselines take
    read = {name: read_config(place, name) for name in dict.fromkeys([*wanted, baseline])}
    for name in wanted:
        method = read[name].get("method")
        if method not in host.METHODS:
            raise not_accepted(f"method of {place / name}.yaml", method, host.METHODS)
    budget, seeds, rates = check_budget(cfg), _seeds(cfg), rates_of(cfg)
    _check_overrides(cfg.get("overrides") or DictConfig({}), budget, read.values())
    merged = {
        name: DictConfig(OmegaConf.merge(mine, cfg.get("overrides") or {})) for name, mine in read.items()
    }
    for complete in map(pretrain_settings, merged.values()):
        uses_gpu(str(complete.accelerator))  # refuses one that is not here
        devices = host.plain(complete.devices)
        if (len(devices) if isinstance(devices, list) else str(devices)) not in (1, "1"):
            raise UserError(
                f"overrides.devices: found {devices}, accepted by compare: 1 (each cell is a "
                "process of its own; `solo-intl pretrain` trains on several)"
            )
    any_size = dataset_info(merged[baseline].data.dataset).image_size is None
    rows = {name: ("", 1.0) for name in ((UNTRAINED,) if any_size else (RAW, UNTRAINED))}
    rows |= {row_name(name, rate): (name, rate) for name in wanted for rate in rates}
    for seed in seeds:
        for name, (file, rate) in rows.items():
            cell = merged[file or baseline].copy()
            _scale_rates(cell, rate)
            directory = directory_of(name)
            cell.seed, cell.name = seed, f"{directory}-seed{seed}"
            cell.checkpoint.dir = str(folder / "cells" / directory / f"seed{seed}")
            # a killed cell goes on from its last epoch, however long ago that was
            cell.auto_resume = {"enabled": True, "max_hours": FOREVER}
            cell.max_epochs = budget.get("max_epochs", cell.max_epochs)
            yield Cell(name, cell, file, budget.get("minutes"))


def row_name(file: str, rate: float) -> str:
    """What a method's file at a multiple of its learning rate is called.

    Example:
        >>> row_name("byol", 0.3), split_row("byol-x0.3"), split_row("byol")
        ('byol-x0.3', ('byol', 0.3), ('byol', 1.0))
    """
    return file if rate == 1 else f"{file}-x{rate!r}"


def split_row(name: str) -> tuple[str, float]:
    """File and rate of a row's name."""
    found = _ROW.fullmatch(name)
    return (found[1], float(found[2])) if found else (name, 1.0)


def directory_of(name: str) -> str:
    """The folder of a row's cells.

    Example:
        >>> directory_of("raw pixels"), directory_of("byol-x0.3")
        ('raw-pixels', 'byol-x0.3')
    """
    return name.replace(" ", "-")


def _check_overrides(overrides: DictConfig, budget: Mapping[str, Any], files: Iterable[DictConfig]) -> None:
    """What the comparison itself sets may not be stated a second time."""
    own = {
        "name": "name",
        "seed": "seeds",
        "auto_resume": "nothing, it is always on",
        "resume_from_checkpoint": "nothing, a killed cell goes on by itself",
        "dry_run": "nothing, `solo-intl pretrain --dry-run` tries a method",
        "checkpoint.dir": "checkpoint.dir",
    } | ({"max_epochs": "budget alone"} if budget else {})
    for key, instead in own.items():
        found = OmegaConf.select(overrides, key)
        if found is not None:
            raise UserError(f"overrides.{key}: found {found}, accepted by compare: {instead}")
    if OmegaConf.select(overrides, "checkpoint.enabled") is False:
        raise UserError(
            "overrides.checkpoint.enabled: found False, accepted by compare: True (it judges them)"
        )
    sections = {key: value for file in files for key, value in file.items() if isinstance(value, DictConfig)}
    for name in sections.keys() & overrides.keys():
        if not isinstance(overrides[name], DictConfig):
            found, keys = host.plain(overrides[name]), ", ".join(map(str, sections[name]))
            raise UserError(f"overrides.{name!s}: found {found!r}, accepted: a section with {keys}")


def _scale_rates(cfg: DictConfig, rate: float) -> None:
    """The network's, and where its schedule begins and ends; the online classifier keeps its own."""
    cfg.optimizer.lr = rate * float(cfg.optimizer.lr)
    for key in ("min_lr", "warmup_start_lr"):
        if cfg.scheduler.get(key):
            cfg.scheduler[key] = rate * float(cfg.scheduler[key])


def _wanted(cfg: DictConfig, known: list[str]) -> list[str]:
    if cfg.methods == "all":
        return known
    if not isinstance(cfg.methods, ListConfig):
        raise UserError(f"methods: found {cfg.methods!r}, accepted: all, or a list such as [intl,byol]")
    wanted = list(map(str, cfg.methods))
    for name in wanted:
        if name in (UNTRAINED, directory_of(RAW)) or _ROW.fullmatch(name) or name != directory_of(name):
            raise UserError(
                f"methods: found {name!r}, accepted by compare: a file whose name has no space and is "
                f"neither that of a rate's row, such as byol-x3, nor {UNTRAINED} or {directory_of(RAW)}"
            )
    return wanted


def _seeds(cfg: DictConfig) -> list[int]:
    seeds = host.plain(cfg.seeds)
    if (
        not isinstance(seeds, list)
        or not seeds
        or not all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)  # bool is an int too
    ):
        raise UserError(
            f"seeds: found {seeds!r}, accepted: a list of whole numbers below 2^32 such as [0,1,2]"
        )
    return list(dict.fromkeys(seeds))


def rates_of(cfg: DictConfig) -> list[int | float]:
    """Multiples of each method's own learning rate; a row of its own for each."""
    rates = host.plain(cfg.get("rates", [1]))
    if (
        not isinstance(rates, list)
        or not rates
        or not all(type(rate) in (int, float) and 0 < rate < math.inf for rate in rates)
    ):
        raise UserError(f"rates: found {rates!r}, accepted: a list of positive numbers such as [0.3,1,3]")
    return [int(rate) if rate == int(rate) else rate for rate in rates]
