"""``make demo``: INTL on scikit-learn's digits, beside the same network untrained and raw pixels.

``config=fashion-mnist`` does the same with another of the shipped small configurations.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from solo_intl.commands.report import percent, print_rows
from solo_intl.config import SCRIPTS
from solo_intl.engine.precision import cpu_has_amx, uses_gpu
from solo_intl.engine.run_folder import environment, plan_run_folder, write_json
from solo_intl.errors import UserError, not_accepted
from solo_intl.experiments.cell import (
    device_of,
    judge,
    judge_pretrained,
    judge_untrained,
    raw_pixels,
    read_config,
)
from solo_intl.experiments.figures import demo_figure
from solo_intl.register import register

NETWORKS = ("raw pixels", "untrained ResNet-18", "INTL ResNet-18")
OPTIONS = {"config": "digits", "seeds": 1, "max_epochs": None, "dir": "runs"}
CONFIGS = ("digits", "fashion-mnist")


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = dict(OPTIONS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in options or not equals:
            raise not_accepted("experiment demo", argument, [f"{k}=" for k in options])
        if key in ("seeds", "max_epochs"):
            if not value.isdigit() or int(value) < 1:
                raise UserError(f"experiment demo, {key}: found {value!r}, accepted: a positive integer")
            options[key] = int(value)
        elif key == "config" and value not in CONFIGS:
            raise not_accepted("experiment demo, config", value, CONFIGS)
        else:
            options[key] = value
    return options


def shipped_config(name: str, *overrides: str) -> DictConfig:
    """A shipped configuration, with the stem this machine can afford."""
    cfg = read_config(SCRIPTS / "pretrain" / name, "intl", list(overrides))
    if cfg.backbone.stem_stride == 1 and not (uses_gpu("auto") or cpu_has_amx()):
        cfg.backbone.stem_stride = 2
        print("Neither a GPU nor a processor with AMX: using a stride-2 stem (a quarter of the work).")
    return cfg


def demo(arguments: Sequence[str]) -> Path:
    """Pre-train and evaluate; prints a table and writes figure, table and results into one run folder."""
    options = _options(arguments)
    register()
    started = time.perf_counter()
    overrides = [] if options["max_epochs"] is None else [f"max_epochs={options['max_epochs']}"]
    cfg = shipped_config(options["config"], *overrides)
    folder = plan_run_folder(options["dir"], "experiment", f"demo-{options['config']}")
    cfg.checkpoint.dir = str(folder)

    raw = raw_pixels(cfg)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
    layers: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
    runs = []
    for seed in range(options["seeds"]):
        cfg.seed, cfg.name = seed, f"intl-{options['config']}-seed{seed}"
        judged, run, final, _ = judge_pretrained(cfg)
        everything = (judge(*raw, seed, device=device_of(cfg)), judge_untrained(cfg), judged)
        for name, found in zip(NETWORKS, everything, strict=True):
            results[name].append(found.accuracies)
            layers[name].append(found.layer)
        runs.append({"folder": run.name, "seconds": final["seconds"], "epochs": final["epochs"]})

    rows = [_row(name, results[name]) for name in NETWORKS]
    seeds = options["seeds"]
    split = f"{len(raw[0].y):,} training, {len(raw[1].y):,} test images"
    title = f"{options['config']}, {split}, {seeds} seed{'s' * (seeds > 1)}: top-1 accuracy in %"
    print_rows(title, ("features", "5-NN", "linear"), rows)
    folder.mkdir(parents=True, exist_ok=True)
    figure = demo_figure(results, folder / "pretrain", folder / "demo.png", title)
    seconds = time.perf_counter() - started
    record = {"split": split, "results": results, "layer": layers, "runs": runs, "seconds": round(seconds, 1)}
    write_json(folder / "results.json", {**record, "environment": environment()})
    print(f"{seconds:.0f} s in all; figure: {figure}; results: {folder / 'results.json'}")
    return folder


def _row(name: str, seeds: list[dict[str, float]]) -> list[str]:
    cells = [name]
    for key in ("knn", "linear"):
        values = [accuracies[key] for accuracies in seeds]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(percent(statistics.mean(values)) + spread)
    return cells
