"""``solo-intl compare``: methods side by side on one data set and budget, each with its own settings."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO, cast

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.commands.report import percent, print_rows
from solo_intl.config import pretrain_settings
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.data import open_split
from solo_intl.engine.run_folder import environment, read_json, write_json
from solo_intl.errors import UserError
from solo_intl.experiments.apart import Named, end_all, own_gpu, run_apart
from solo_intl.experiments.budget import within_minutes
from solo_intl.experiments.cell import device_of, judge, judge_pretrained, judge_untrained, raw_pixels
from solo_intl.experiments.folder import open_folder, places
from solo_intl.experiments.grid import RAW, RESULT, UNTRAINED, Cell, cells_of
from solo_intl.experiments.progress import outcome, seconds_left, span, title
from solo_intl.experiments.report import write_report
from solo_intl.register import register

PATIENCE = 30.0  # seconds that a cell has to end when it is told to: Lightning does so after a batch
QUIET = 600.0  # seconds after which the grid says where it stands, if no cell has ended


def run(cfg: DictConfig) -> dict[str, Any]:
    """Run what is missing in the folder that the comparison's name gives, and print the table.

    Returns:
        ``folder``, the names of the ``failed`` cells, and the ``results`` by method.

    Raises:
        UserError: a mistake in the configuration, no data, or the folder holds a comparison with other
            settings, or another process is writing to it.
    """
    check_keys(host.plain(cfg), SCHEMAS["compare"])
    _check(cfg)
    folder = Path(cfg.checkpoint.dir) / "compare" / str(cfg.name)
    cells = list(cells_of(cfg, folder))
    if not all(cell.finished for cell in cells):  # once, before every cell meets the same mistake
        for split in ("train", "val"):
            open_split(pretrain_settings(cells[-1].cfg).data, split)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"checkpoint.dir: cannot write {folder} ({error.strerror}), accepted: a writable folder"
        ) from None
    try:
        with FileLock(folder / ".lock", blocking=False):  # let go when the process ends, however it does
            return _run(cfg, folder, cells)
    except Timeout:
        raise UserError(
            f"name: found '{cfg.name}', whose folder {folder} another comparison is writing to; "
            "accepted: a new name, or this one when that has ended"
        ) from None


def _check(cfg: DictConfig) -> None:
    """What everything else takes for granted."""
    one_folder = {Path(str(cfg.name)).name} - {"", ".."}
    for key, right, accepted in (
        ("jobs", type(cfg.jobs) is int and cfg.jobs > 0, "a positive integer"),  # bool is an int too
        ("name", cfg.name is not None and str(cfg.name) in one_folder, "a folder's name"),
        ("pretrain", isinstance(cfg.pretrain, str), "a folder with one YAML a method"),
        ("checkpoint", isinstance(cfg.checkpoint, DictConfig), "a section with dir"),
        ("checkpoint.dir", isinstance(OmegaConf.select(cfg, "checkpoint.dir"), str), "a folder"),
        ("report", isinstance(cfg.get("report", True), bool), "true or false"),
        ("overrides", isinstance(cfg.get("overrides"), DictConfig | None), "a section of pre-training keys"),
    ):
        if not right:
            found = host.plain(OmegaConf.select(cfg, key))
            raise UserError(f"{key}: found {found!r}, accepted: {accepted}")


def _run(cfg: DictConfig, folder: Path, cells: Sequence[Cell]) -> dict[str, Any]:
    open_folder(folder, cfg, cells)
    missing = [cell for cell in cells if not cell.finished]
    left = f"; {span(seconds_left(cells, missing, {}, int(cfg.jobs)))}" if missing else ""
    print(f"{cfg.name}: {len(cells)} cells, {len(cells) - len(missing)} finished before{left}")
    late = dict.fromkeys(cell.name for cell in cells if _warms_up_to_the_end(cell))
    if late:
        print(
            f"warm-up takes every epoch of the budget, the rate never comes to its height: {', '.join(late)}"
        )
    _run_all(folder, cells, missing, int(cfg.jobs))
    results = _write_results(folder, cells)
    columns = ("features", "5-NN", "linear", "s a seed")
    print_rows(f"{cfg.name}: top-1 accuracy in %", columns, [_row(*item) for item in results.items()])
    print(f"results: {folder / 'results.json'}")
    failed = [title(cell) for cell in cells if not cell.finished]
    if failed:
        print(f"failed: {'; '.join(failed)} (the error is in {RESULT} of each; the same command tries again)")
    if cfg.get("report", True) and any(cell.finished for cell in cells):
        print(f"report: {write_report(folder)}")
    return {"folder": str(folder), "failed": failed, "results": results}


def _warms_up_to_the_end(cell: Cell) -> bool:
    if not cell.file or cell.minutes:  # whose epochs are counted only when it begins
        return False
    return host.warmup_epochs(cell.cfg) >= int(cell.cfg.max_epochs)


def _processors() -> int:
    """Those this process may use, where the platform tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_all(folder: Path, cells: Sequence[Cell], missing: Sequence[Cell], jobs: int) -> None:
    threads = max(1, _processors() // jobs)
    begun: dict[Path, float] = {}
    stop = threading.Event()
    gpus: SimpleQueue[dict[str, str]] = SimpleQueue()
    for place in range(jobs):
        gpus.put(own_gpu(place))

    def start(cell: Cell) -> None:
        if stop.is_set():
            return
        begun[cell.folder] = time.perf_counter()
        (cell.folder / RESULT).unlink(missing_ok=True)  # of an attempt that failed
        gpu = gpus.get()
        chosen = isinstance(host.plain(cell.cfg.get("devices")), list)  # by the user, among all
        try:
            code = run_apart(_run_cell, cell, threads, jobs, environment={} if chosen else gpu)
            error = f"the process ended with code {code}"
        except OSError as failure:  # too little memory for one more process, say
            error = f"no process could be started: {failure}"
        finally:
            gpus.put(gpu)
        if not cell.result and not stop.is_set():
            cell.folder.mkdir(parents=True, exist_ok=True)
            write_json(cell.folder / RESULT, {"error": error})

    def say(what: str, waiting: Sequence[Cell]) -> None:
        spent = {place: time.perf_counter() - since for place, since in begun.copy().items()}
        left = span(seconds_left(cells, waiting, spent, jobs))
        print(f"[{len(cells) - len(waiting)}/{len(cells)}] {what}, {left}", flush=True)

    pool = ThreadPoolExecutor(max_workers=jobs)
    running: dict[Future[None], Cell] = {}
    try:
        for cell in missing:  # one by one: an interrupt may come in between
            running[pool.submit(start, cell)] = cell
        waiting = list(missing)
        while waiting:
            ended, _ = wait([job for job in running if running[job] in waiting], QUIET, FIRST_COMPLETED)
            for job in ended:
                job.result()
                waiting.remove(running[job])
                say(outcome(running[job]), waiting)
            if not ended:
                say(f"at work: {'; '.join(title(cell) for cell in waiting if cell.folder in begun)}", waiting)
            _write_results(folder, cells)
    finally:  # the command's own end, or Ctrl-C: no cell begins any more, and none goes on
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        asked = time.monotonic()
        while any(job.running() for job in running):  # one may just be starting its process
            end_all(by_force=time.monotonic() - asked > PATIENCE)
            time.sleep(0.1)


def _run_cell(cell: Cell, threads: int, jobs: int) -> None:
    name = title(cell)
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
        if not isinstance(error, UserError):
            result["traceback"] = traceback.format_exc()
    cell.folder.mkdir(parents=True, exist_ok=True)
    result["seconds"] = round(time.perf_counter() - started + result.pop("before", 0.0), 1)
    result |= {"jobs": jobs, "threads": threads, "settings": cell.settings}
    write_json(cell.folder / RESULT, {**result, "environment": environment()})


def _measure(cell: Cell) -> dict[str, Any]:
    if cell.name == RAW:
        raw = raw_pixels(cell.cfg)
        return judge(*raw, cell.cfg.seed, cell.folder, device_of(cell.cfg))._asdict()
    if cell.name == UNTRAINED:
        return judge_untrained(cell.cfg, cell.folder)._asdict()
    cfg = within_minutes(cell.cfg, cell.minutes, cell.folder) if cell.minutes else cell.cfg
    judged, run_folder, final, before = judge_pretrained(cfg, cell.folder)
    run = str(run_folder.relative_to(cell.folder))
    return {**judged._asdict(), "run": run, "pretraining": final, "before": before}


def _write_results(folder: Path, cells: Sequence[Cell]) -> dict[str, list[dict[str, Any]]]:
    """Everything in the folder: these cells, and those of other methods and seeds that ended before."""
    order = {cell.name: None for cell in cells}
    order |= {name: None for name in sorted({name for name, _, _ in places(folder)} - order.keys())}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in order}
    for name, seed, place in places(folder):
        found = read_json(place / RESULT)
        if not found:
            continue
        found.pop("settings", None)  # of the run, with what it left out, are in its folder's config.yaml
        found.pop("traceback", None)
        # cells may come from several days and versions, and be judged by another than trained them
        judged = found.pop("environment", {})
        trained = read_json(place / found["run"] / "environment.json") if "run" in found else {}
        found |= _origin(trained or judged)
        if trained and judged and _origin(trained)["commit"] != _origin(judged)["commit"]:
            found["judged"] = _origin(judged)
        results[name].append({"seed": seed, **found})
    results = {name: seeds for name, seeds in results.items() if seeds}
    for seeds in results.values():
        seeds.sort(key=lambda found: found["seed"])
    write_json(folder / "results.json", {"results": results, "environment": environment()})
    return results


def _origin(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {"commit": environment["solo_intl"]["commit"], "date": environment["date"]} if environment else {}


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
