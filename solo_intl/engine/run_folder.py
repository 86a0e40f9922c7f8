"""One folder a run: configuration, environment, metrics, checkpoints and figures, and nothing elsewhere."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl._version import __version__
from solo_intl.detect import checkout_commit
from solo_intl.engine.precision import cpu_flags
from solo_intl.errors import UserError

_SHARED_WITH_CHILDREN = "SOLO_INTL_RUN_FOLDER"
PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "hydra-core",
    "numpy",
    "scikit-learn",
)


def environment() -> dict[str, Any]:
    """Versions, machine and commits: what a reader needs to repeat a figure."""
    return {
        "solo_intl": {"version": __version__, "commit": checkout_commit(Path(__file__).resolve().parents[2])},
        "solo-learn": {
            "generation": host.HOST.generation,
            "version": host.HOST.version,
            "commit": host.HOST.commit,
        },
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "flags": sorted(cpu_flags()),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        # the program's name without its folder: where it is installed says nothing to another reader
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def plan_run_folder(root: str | Path, command: str, name: str) -> Path:
    """The path of a new run's folder; nothing is written yet. Processes that Lightning starts share it."""
    given = os.environ.get(_SHARED_WITH_CHILDREN)
    if given and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(given)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    base = Path(root) / command / f"{name}-{stamp}"
    folder, n = base, 2
    while folder.exists():
        folder, n = base.with_name(f"{base.name}-{n}"), n + 1
    os.environ[_SHARED_WITH_CHILDREN] = str(folder)
    return folder


def open_run_folder(folder: Path, cfg: DictConfig, resumed_from: Path | None = None) -> None:
    """Create the folder with ``config.yaml`` and ``environment.json``; the run is about to start.

    Raises:
        UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without the checkpoint it resumes, so that the file repeats the run from its start
        stated = OmegaConf.merge(cfg, {"resume_from_checkpoint": None} if resumed_from else {})
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(stated, resolve=True))
        resumed = {"resumed_from": str(resumed_from)} if resumed_from else {}
        write_json(folder / "environment.json", {**environment(), **resumed})
    except OSError as error:
        raise UserError(
            f"checkpoint.dir: cannot write {folder} ({error.strerror}), accepted: a writable folder"
        ) from None


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Rows of ``metrics.csv``, without what a process that was killed while writing left unfinished.

    None where there is no such file.
    """
    if not (folder / "metrics.csv").is_file():
        return []
    with (folder / "metrics.csv").open(newline="", errors="replace") as file:
        whole = [line for line in file if line.endswith("\n")]  # a number may lack its last digits
    return [row for line in csv.DictReader(whole) if "step" in (row := _numbers(line))]


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Empty where a value is no number, or where there are more values than columns."""
    try:
        return {key: float(value) for key, value in line.items() if value}
    except (TypeError, ValueError):
        return {}


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all, even if the machine stops."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; empty where there is no such file, or what is there is no JSON object."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
