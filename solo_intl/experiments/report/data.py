"""What a comparison's folder holds, read into memory; nothing is computed by a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from solo_intl import host
from solo_intl.engine.monitor import SPECTRUM_FILE
from solo_intl.engine.run_folder import read_json, read_metrics
from solo_intl.engine.views import VIEWS_FILE
from solo_intl.errors import UserError
from solo_intl.experiments.cell import FEATURES_FILE
from solo_intl.experiments.folder import places
from solo_intl.experiments.grid import RAW, RESULT, UNTRAINED

Arrays = dict[str, np.ndarray]
Points = list[tuple[float, float]]
REFERENCES = (RAW, UNTRAINED)  # what a method has to beat; they are not trained


@dataclass(frozen=True)
class Run:
    """One finished cell.

    Attributes:
        folder: the cell's folder.
        seed: its seed.
        accuracies: "knn" and "linear" in percent.
        final: the pre-training's final figures; empty for a reference.
        parts: run folders of the pre-training, oldest first: each continues the one before. Empty for a
            reference, and where they were removed.
        environments: versions, machine and date of the processes that trained it, part by part, and of the
            one that judged it.
        jobs: how many cells ran at a time.
        threads: threads of this cell.
        layer: how the linear layer fitted its training images.
        settings: the configuration that the comparison gave.
    """

    folder: Path
    seed: int
    accuracies: dict[str, float]
    final: dict[str, Any]
    parts: tuple[Path, ...]
    environments: tuple[dict[str, Any], ...]
    jobs: int = 1
    threads: int = 1
    layer: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """metrics.csv of all parts; what a later part did again is taken from the later one."""
        rows: list[dict[str, float]] = []
        for part in self.parts:
            found = read_metrics(part)
            first = min((row["step"] for row in found), default=float("inf"))
            rows = [row for row in rows if row["step"] < first] + found
        return rows

    def series(self, name: str, over: str = "epoch") -> Points:
        """(epochs or steps done, value) of one column."""
        return [(row[over] + 1, row[name]) for row in self.rows if name in row and over in row]

    @property
    def seconds_per_epoch(self) -> float:
        """Seconds of training, validation included, by epochs done."""
        recorded = self.series("seconds")
        if recorded:
            return recorded[-1][1] / recorded[-1][0]
        total = self.final["metrics"].get("seconds", self.final["seconds"])  # the run folders were removed
        return float(total) / max(1, int(self.final["epochs"]))

    @property
    def hours(self) -> float:
        """Hours of training, over all parts."""
        return self.seconds_per_epoch * int(self.final["epochs"]) / 3600

    @property
    def warming_up(self) -> bool:
        """Whether the learning rate still rose when training ended."""
        if not (self.final and self.config):
            return False
        cfg: Any = OmegaConf.create(self.config)
        return host.warmup_epochs(cfg) >= int(self.final["epochs"])

    @cached_property
    def spectrum(self) -> Arrays:
        """What the monitor wrote, over all parts; empty if it was off."""
        found = [_arrays(part / SPECTRUM_FILE) for part in self.parts]
        found = [arrays for arrays in found if arrays]
        joined = found[0] if found else {}
        for later in found[1:]:
            before = joined["step"] < later["step"].min()
            joined = {
                key: value if value.ndim == 0 else np.concatenate([value[before], later[key]])
                for key, value in joined.items()
                if key in later  # a measure that only one part's version had has no course
            }
        return joined

    @cached_property
    def views(self) -> Arrays:
        return _arrays(self.parts[0] / VIEWS_FILE) if self.parts else {}

    @cached_property
    def features(self) -> Arrays:
        return _arrays(self.folder / FEATURES_FILE)

    @property
    def config(self) -> str:
        """The run's config.yaml; where that was removed, what the comparison gave; empty for a reference."""
        if self.parts:
            return (self.parts[0] / "config.yaml").read_text()
        return OmegaConf.to_yaml(OmegaConf.create(self.settings)) if self.final else ""


@dataclass
class Entry:
    """One method, or one reference, over its seeds."""

    name: str
    runs: list[Run] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        return self.name not in REFERENCES

    @cached_property
    def method(self) -> str:
        """The method of its configurations, which several names may share; its name where there is none."""
        text = next((run.config for run in self.runs if run.config), "")
        cfg: Any = OmegaConf.create(text)
        return str(cfg.get("method", self.name))

    def mean_series(self, name: str, over: str = "epoch") -> Points:
        """Mean over the seeds, where all of them have a value."""
        return mean_points([points for run in self.runs if (points := run.series(name, over))])


@dataclass
class Comparison:
    """Everything the report shows."""

    folder: Path
    settings: dict[str, Any]
    entries: list[Entry]
    missing: list[tuple[str, int]]  # cells that have not ended, by name and seed

    @property
    def name(self) -> str:
        return str(self.settings.get("name") or self.folder.name)

    @property
    def methods(self) -> list[Entry]:
        """Trained methods with at least one finished seed."""
        return [entry for entry in self.entries if entry.trained and entry.runs]

    @property
    def runs(self) -> list[Run]:
        """Every finished cell."""
        return [run for entry in self.entries for run in entry.runs]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})


def mean_points(series: Iterable[Points]) -> Points:
    """Mean of several curves at the abscissae that all of them have.

    Example:
        >>> mean_points([[(1, 2.0), (2, 4.0)], [(1, 4.0)]])
        [(1, 3.0)]
    """
    values: dict[float, list[float]] = defaultdict(list)
    count = 0
    for points in series:
        count += 1
        for x, y in dict(points).items():
            values[x].append(y)
    return [(x, mean(ys)) for x, ys in sorted(values.items()) if len(ys) == count]


def read_comparison(folder: Path) -> Comparison:
    """Read what ``solo-intl compare`` wrote.

    Raises:
        UserError: the folder holds no comparison, or no finished cell.
    """
    if not (folder / "cells").is_dir() or not (folder / "config.yaml").is_file():
        raise UserError(f"report: found no comparison in {folder}, accepted: the folder that compare printed")
    settings: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    entries: dict[str, Entry] = {}
    missing = {(name, int(seed)) for name in settings.get("rows", ()) for seed in settings["seeds"]}
    for name, seed, place in sorted(places(folder)):
        result = read_json(place / RESULT)
        entry = entries.setdefault(name, Entry(name))
        missing = missing - {(name, seed)} if result else missing | {(name, seed)}
        if "error" in result:
            entry.errors[seed] = str(result["error"])
        elif result:
            entry.runs.append(_run(place, seed, result))
    if not any(entry.runs for entry in entries.values()):
        raise UserError(f"report: found no finished cell in {folder}, accepted: one at least")
    return Comparison(folder, settings, list(entries.values()), sorted(missing))


def _run(place: Path, seed: int, result: Mapping[str, Any]) -> Run:
    parts: list[Path] = []
    part = place / result["run"] if "run" in result else None
    while part is not None and part.is_dir() and part not in parts:
        parts.insert(0, part)
        before = read_json(part / "environment.json").get("resumed_from")
        part = part.with_name(Path(before).parent.parent.name) if before else None
    final = result.get("pretraining") or {}
    environments = [read_json(part / "environment.json") for part in parts] + [result.get("environment")]
    more = {key: result[key] for key in ("jobs", "threads", "layer", "settings") if key in result}
    return Run(
        place,
        seed,
        result["accuracies"],
        final,
        tuple(parts),
        tuple(filter(None, environments)),
        **more,
    )


def _arrays(file: Path) -> Arrays:
    if not file.is_file():
        return {}
    with np.load(file) as arrays:
        return dict(arrays)
