"""Run an analysis: what is missing of its cells, then its claims, table and figure."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_intl.commands.report import print_rows
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.analysis.claims import Report
from solo_intl.experiments.analysis.drawing import write_figure
from solo_intl.experiments.analysis.settings import open_folder, read_settings

ANALYSES = ("theory", "toy", "instability", "ablation")
ORIGIN = ("date", "commit", "processor_seconds")  # of a cell
Cell = Callable[[], dict[str, Any]]


def run_analysis(analysis: str, arguments: Sequence[str]) -> Path:
    """Measure what the folder lacks and write ANALYSIS.json, .csv, .png and .svg into it.

    Each cell is written whole when it ends, so the same command goes on where a killed one stood.

    Raises:
        UserError: a mistake in the arguments, or the folder holds results of other settings.
    """
    module = import_module(f"solo_intl.experiments.analysis.{analysis}")
    settings, folder = read_settings(analysis, arguments)
    cells = module.cells(settings)  # first, so that a mistake writes nothing
    open_folder(folder, settings)
    results = run_cells(folder / "cells", cells)
    report: Report = module.report(results, settings)
    write_figure(report.figure, folder / analysis)
    _write_csv(folder / f"{analysis}.csv", report.rows)
    origins = {name: {key: cell.get(key) for key in ORIGIN} for name, cell in results.items()}
    record: dict[str, Any] = {
        "analysis": analysis,
        "settings": OmegaConf.to_container(settings, resolve=True),
        "claims": [asdict(claim) for claim in report.claims],
        "seconds": {name: cell["seconds"] for name, cell in results.items()},
        "measured": origins,
        "environment": environment(),
    }
    write_json(folder / f"{analysis}.json", record)
    rows = [(claim.name, claim.statement, "yes" if claim.holds else "no") for claim in report.claims]
    print_rows(f"{analysis}: claims", ("claim", "", "holds"), rows)
    total = sum(record["seconds"].values())
    print(f"{total:.0f} s of measuring in all; {folder / analysis}.json, .csv, .png, .svg")
    return folder


def run_cells(folder: Path, cells: Mapping[str, Cell]) -> dict[str, Any]:
    """Results by name, each from its file or else measured now and then written.

    With it go seconds, of the clock and of the processor, date and commit: the record may be made long after,
    by another commit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in cells if not (folder / f"{name}.json").is_file()]
    print(f"{len(cells)} cells, {len(cells) - len(missing)} finished before", flush=True)
    began = time.perf_counter()
    for done, name in enumerate(missing, 1):
        started, worked = time.perf_counter(), time.process_time()
        result = cells[name]()
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        now = environment()
        origin = dict(zip(ORIGIN, (now["date"], now["solo_intl"]["commit"], round(worked, 4)), strict=True))
        write_json(folder / f"{name}.json", {**result, "seconds": round(seconds, 2), **origin})
        left = (time.perf_counter() - began) / done * (len(missing) - done)
        print(f"[{done}/{len(missing)}] {name}: {seconds:.1f} s, about {left / 60:.0f} min left", flush=True)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in cells}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
