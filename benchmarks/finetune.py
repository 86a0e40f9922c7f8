"""Fine-tuning on 1 % and 10 % of Fashion-MNIST's labels, beside training from scratch, over several seeds.

    python benchmarks/finetune.py CHECKPOINT [KEY=VALUE ...]

A seed is also the draw of the labelled images, so that every start has the same ones. The file is written
after each cell; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solo_intl.commands import finetune
from solo_intl.commands.report import print_rows
from solo_intl.config import SCRIPTS
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments.cell import read_config
from solo_intl.register import register

SHARES = ("1percent", "10percent")
PRETRAINED, SCRATCH, FAST_SCRATCH = (
    "pre-trained",
    "from scratch",
    "from scratch, backbone at the classifier's rate",
)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the missing cells; returns what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE for every cell")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("finetune-fashion-mnist.json")
    )
    given = parser.parse_intermixed_args(arguments)
    register()
    settings = {"checkpoint": str(given.checkpoint), "overrides": given.overrides}
    cells = _cells_before(given.output, settings)
    for seed in range(given.seeds):
        for share in SHARES:
            for start in (PRETRAINED, SCRATCH, FAST_SCRATCH):
                key = {"share": share, "start": start, "seed": seed}
                if not any(key.items() <= cell.items() for cell in cells):
                    cells.append({**key, **_run(share, start, seed, given)})
                    _write(given.output, settings, cells)
    record = _write(given.output, settings, cells)
    rows = [
        [f"{share}, {start}", *(f"{figure['mean']} ± {figure['deviation']}" for figure in figures.values())]
        for share, starts in record["summary"].items()
        for start, figures in starts.items()
    ]
    print_rows(f"accuracy in %, {given.seeds} seeds", ("labels, start", "top-1", "top-5"), rows)
    return record


def _cells_before(output: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    if not output.is_file():
        return []
    before = json.loads(output.read_text())
    if {key: before[key] for key in settings} != settings:
        raise SystemExit(f"{output}: holds results of other settings; move it away, or give --output")
    return before["cells"]


def _run(share: str, start: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    cfg = read_config(
        SCRIPTS / "finetune" / "fashion-mnist", share, [f"++{text}" for text in given.overrides]
    )
    cfg.seed = seed
    cfg.from_scratch = start != PRETRAINED
    cfg.pretrained_feature_extractor = str(given.checkpoint) if start == PRETRAINED else None
    if start == FAST_SCRATCH:
        cfg.optimizer.lr = cfg.optimizer.classifier_lr
    final = finetune.run(cfg)
    kept = ("network", "labelled_images", "validation_images", "epochs", "seconds")
    return {**{key: final[key] for key in kept}, **final["metrics"]}


def _write(output: Path, settings: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for cell in cells:
        summary.setdefault(cell["share"], {}).setdefault(cell["start"], {"top1": [], "top5": []})
        for key, values in summary[cell["share"]][cell["start"]].items():
            values.append(cell[key])
    for starts in summary.values():
        for figures in starts.values():
            for key, values in figures.items():
                deviation = statistics.stdev(values) if len(values) > 1 else None
                figures[key] = {
                    "mean": round(statistics.mean(values), 2),
                    "deviation": deviation and round(deviation, 2),
                    "seeds": len(values),
                }
    record = {**settings, "summary": summary, "cells": cells, "environment": environment()}
    write_json(output, record)
    return record


if __name__ == "__main__":
    main()
