"""``solo-intl doctor``: what was found, and the one command that mends each thing missing."""

from __future__ import annotations

import importlib.util
import os
import platform

import torch
import torchvision

from solo_intl._version import __version__
from solo_intl.commands.report import print_rows
from solo_intl.data import describe
from solo_intl.detect import HEAD, INSTALL_HEAD, INSTALL_LEGACY, HostMissing, find_host
from solo_intl.engine.precision import cpu_computes_bf16, cpu_flags, cpu_has_amx, resolve_precision

OPTIONAL = {
    "h5py": ("data.format=h5", "pip install h5py"),
    "pyarrow": ("embed format=parquet", "pip install pyarrow"),
    "tensorboard": ("tensorboard.enabled=true", "pip install tensorboard"),
    "wandb": ("wandb.enabled=true", "pip install wandb"),
}


def _host_row() -> list[str]:
    try:
        host = find_host()
        other = INSTALL_LEGACY if host.generation == HEAD else INSTALL_HEAD
        return ["solo-learn", str(host), f"the other generation: {other}"]
    except HostMissing as error:
        return ["solo-learn", "MISSING", str(error)]


def _cpu_row() -> list[str]:
    flags = cpu_flags()
    bf16 = "computes in bf16" if cpu_computes_bf16() else "no fast bf16"
    amx = "AMX" if cpu_has_amx() else "no AMX"
    return [
        "processor",
        f"{os.cpu_count()} cores, {platform.machine()}, {bf16}, {amx}",
        " ".join(sorted(flags)),
    ]


def run() -> None:
    """Print what this machine and installation can do."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = [
        ["solo_intl", __version__, f"Python {platform.python_version()}"],
        _host_row(),
        [
            "torch",
            f"{torch.__version__}, torchvision {torchvision.__version__}",
            f"{torch.get_num_threads()} threads",
        ],
        _cpu_row(),
        ["GPUs", ", ".join(gpus) or "none", "" if gpus else "everything runs on the processor, slower"],
        [
            "precision: auto",
            resolve_precision("auto", "auto"),
            "here; set precision=32-true or bf16-mixed to override",
        ],
    ]
    for module, (purpose, command) in OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        rows.append(
            [module, "found" if found else "missing", purpose if found else f"for {purpose}: {command}"]
        )
    for entry in describe():
        rows.append(
            [
                f"data: {entry['name']}",
                "found" if entry["found"] else "missing",
                str(entry["where"] if entry["found"] else entry["get"]),
            ]
        )
    print_rows("solo-intl doctor", ("what", "found", "detail, or the command that mends it"), rows)
