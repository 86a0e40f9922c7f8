"""``solo-intl compare``: methods side by side on one data set and budget, each with its own settings."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.commands.report import percent, print_rows
from solo_intl.config.compose import config_folder
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.errors import UserError, not_accepted
from solo_intl.experiments.budget import check_budget, within_minutes
from solo_intl.experiments.cell import judge, judge_pretrained, judge_untrained, raw_pixels, read_config
from solo_intl.experiments.report import write_report
from solo_intl.register import register

RAW, UNTRAINED = "raw pixels", "untrained"  # what a method has to beat
RESULT = "result.json"


@dataclass(frozen=True)
class Cell:
    """One network at one seed: a method's, or one that a method has to beat."""

    name: str
    cfg: DictConfig
    minutes: float | None = None  # of pre-training; None: the epochs that cfg states

    @property
    def folder(self) -> Path:
        return Path(self.cfg.checkpoint.dir)

    @property
    def result(self) -> dict[str, Any]:
        """What the cell wrote; empty if it has not ended."""
        file = self.folder / RESULT
        return json.loads(file.read_text()) if file.is_file() else {}

    @property
    def finished(self) -> bool:
        """Failed cells are tried again."""
        return bool(self.result) and "error" not in self.result


def run(cfg: DictConfig) -> dict[str, Any]:
    """Run what is missing in the folder that the comparison's name gives, and print the table.

    Raises:
        UserError: unknown key or method, or the folder holds a comparison with other settings.
    """
    check_keys(host.plain(cfg), SCHEMAS["compare"])
    if not isinstance(cfg.jobs, int) or cfg.jobs < 1:
        raise UserError(f"jobs: found {cfg.jobs!r}, accepted: a positive integer")
    folder = Path(cfg.checkpoint.dir) / "compare" / str(cfg.name)
    cells = list(_cells(cfg, folder))
    _open(folder, cfg)
    missing = [cell for cell in cells if not cell.finished]
    print(f"{cfg.name}: {len(cells)} cells, {len(cells) - len(missing)} finished before")
    started = time.perf_counter()
    threads = max(1, (os.cpu_count() or 1) // int(cfg.jobs))
    with ThreadPoolExecutor(max_workers=int(cfg.jobs)) as pool:
        running = {pool.submit(_in_own_process, cell, threads): cell for cell in missing}
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            left = (time.perf_counter() - started) / done * (len(missing) - done)
            _say(f"[{done}/{len(missing)}]", running[future], left)
            _write_results(folder, cells)
    results = _write_results(folder, cells)
    columns = ("features", "5-NN", "linear", "s a seed")
    print_rows(f"{cfg.name}: top-1 accuracy in %", columns, [_row(*item) for item in results.items()])
    print(f"results: {folder / 'results.json'}")
    failed = [f"{cell.name}, seed {cell.cfg.seed}" for cell in cells if not cell.finished]
    if failed:
        print(f"failed: {'; '.join(failed)} (the error is in {RESULT} of each; the same command tries again)")
    if cfg.get("report", True) and any(cell.finished for cell in cells):
        print(f"report: {write_report(folder)}")
    return {"folder": str(folder), "failed": failed, "results": results}


def _cells(cfg: DictConfig, folder: Path) -> Iterator[Cell]:
    place = config_folder(cfg.pretrain)
    files = sorted(file.stem for file in place.glob("*.yaml"))
    known = [name for name in files if name in host.METHODS]
    wanted = known if cfg.methods == "all" else list(cfg.methods)
    for name in wanted:
        if name not in files:
            raise not_accepted("methods", name, files)
        method = read_config(place, name).get("method")
        if method not in host.METHODS:
            raise not_accepted(f"method of {place / name}.yaml", method, host.METHODS)
    if not wanted:
        raise UserError(f"methods: found none with a file in {place}, accepted: {', '.join(host.METHODS)}")
    budget = check_budget(cfg)
    for seed in cfg.seeds:
        for name in (RAW, UNTRAINED, *wanted):
            method = "intl" if name in (RAW, UNTRAINED) and "intl" in known else name
            method = wanted[0] if method in (RAW, UNTRAINED) else method
            cell = read_config(place, method)
            cell = DictConfig(OmegaConf.merge(cell, cfg.get("overrides") or {}))
            cell.seed, cell.name = int(seed), f"{method}-seed{seed}"
            cell.checkpoint.dir = str(folder / "cells" / name.replace(" ", "-") / f"seed{seed}")
            cell.auto_resume.enabled = True  # a killed cell goes on from its last epoch
            cell.max_epochs = budget.get("max_epochs", cell.max_epochs)
            yield Cell(name, cell, budget.get("minutes"))


def _open(folder: Path, cfg: DictConfig) -> None:
    """Keep the settings beside the results, so that no cell of other settings ever joins them."""
    file = folder / "config.yaml"
    free = ("methods", "seeds", "jobs", "checkpoint", "report")  # more of them may join later
    if file.is_file():
        before = {key: value for key, value in host.plain(OmegaConf.load(file)).items() if key not in free}
        now = {key: value for key, value in host.plain(cfg).items() if key not in free}
        if before != now:
            different = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            raise UserError(
                f"name: found '{cfg.name}', whose folder {folder} holds a comparison with other "
                f"{', '.join(different)}; accepted: a new name, or the same settings"
            )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(OmegaConf.to_yaml(cfg, resolve=True))


def _in_own_process(cell: Cell, threads: int) -> None:
    """Every cell starts from the same state, and its peak memory is its own."""
    process = multiprocessing.get_context("spawn").Process(target=_run_cell, args=(cell, threads))
    process.start()
    process.join()
    if not cell.result:
        cell.folder.mkdir(parents=True, exist_ok=True)
        write_json(cell.folder / RESULT, {"error": f"the process ended with code {process.exitcode}"})


class Named(io.TextIOBase):
    """Passes whole lines on to ``stream``, each behind ``name``: cells side by side share one output.

    Example:
        >>> import sys
        >>> print("epoch 1/2", file=Named("byol, seed 0", sys.stdout))
        byol, seed 0: epoch 1/2
    """

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream, self.rest = name, stream, ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if lines:
            self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
            self.stream.flush()
        return len(text)


def _run_cell(cell: Cell, threads: int) -> None:
    name = f"{cell.name}, seed {cell.cfg.seed}"
    sys.stdout, sys.stderr = (cast(TextIO, Named(name, stream)) for stream in (sys.stdout, sys.stderr))
    torch.set_num_threads(threads)
    # a spawned process would spawn its loader workers too; the platform's own way may be quicker
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    register()
    started = time.perf_counter()
    try:
        result = _measure(cell)
    except Exception as error:  # one cell's failure is a result; the others go on
        result = {"error": f"{type(error).__name__}: {error}"}
    cell.folder.mkdir(parents=True, exist_ok=True)
    result["seconds"] = round(time.perf_counter() - started, 1)
    write_json(cell.folder / RESULT, {**result, "environment": environment()})


def _measure(cell: Cell) -> dict[str, Any]:
    if cell.name == RAW:
        return {"accuracies": judge(*raw_pixels(cell.cfg), cell.cfg.seed, cell.folder)}
    if cell.name == UNTRAINED:
        return {"accuracies": judge_untrained(cell.cfg, cell.folder)}
    cfg = within_minutes(cell.cfg, cell.minutes, cell.folder) if cell.minutes else cell.cfg
    accuracies, run_folder, final = judge_pretrained(cfg, cell.folder)
    return {"accuracies": accuracies, "run": str(run_folder.relative_to(cell.folder)), "pretraining": final}


def _say(counter: str, cell: Cell, left: float) -> None:
    result = cell.result
    scores = ", ".join(f"{key} {value:.2f}" for key, value in result.get("accuracies", {}).items())
    outcome = scores or f"failed: {result.get('error')}"
    print(
        f"{counter} {cell.name}, seed {cell.cfg.seed}: {outcome}; "
        f"{result.get('seconds', 0):.0f} s, about {left / 60:.0f} min left",
        flush=True,
    )


def _write_results(folder: Path, cells: Sequence[Cell]) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        if cell.result:
            found = cell.result
            here = found.pop("environment", {})  # cells may come from several days and versions
            if here:
                found |= {"commit": here["solo_intl"]["commit"], "date": here["date"]}
            results.setdefault(cell.name, []).append({"seed": int(cell.cfg.seed), **found})
    write_json(folder / "results.json", {"results": results, "environment": environment()})
    return results


def _row(name: str, seeds: Sequence[dict[str, Any]]) -> list[str]:
    ended = [seed for seed in seeds if "accuracies" in seed]
    if not ended:
        return [name, "-", "-", "-"]
    cells = [name]
    for key in ("knn", "linear"):
        values = [seed["accuracies"][key] for seed in ended]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(percent(statistics.mean(values)) + spread)
    return [*cells, f"{statistics.mean(seed['seconds'] for seed in ended):.0f}"]
