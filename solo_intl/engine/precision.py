"""``precision: auto``: what this machine computes in, resolved before the Trainer sees it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn

from solo_intl.errors import UserError

AUTO = "auto"
FULL = "32-true"
ACCEPTED = (AUTO, "32-true", "32", "16-mixed", "bf16-mixed", "64-true", "bf16-true", "16-true")


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags that matter here, from /proc/cpuinfo where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    words = {
        word for line in text.splitlines() if line.startswith(("flags", "Features")) for word in line.split()
    }
    return frozenset(words & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "asimd", "sve"})


def cpu_computes_bf16() -> bool:
    """Whether the processor multiplies in bf16 (AMX, AVX512-BF16, or Arm's BF16) rather than emulating it."""
    flags = cpu_flags()
    return bool(flags & {"amx_bf16", "avx512_bf16"}) or (platform.machine() == "aarch64" and "bf16" in flags)


def cpu_has_amx() -> bool:
    """Whether the processor multiplies whole tiles in bf16, not only vectors as with AVX512-BF16."""
    return "amx_bf16" in cpu_flags()


def uses_gpu(accelerator: str) -> bool:
    """Whether ``accelerator`` means a CUDA device on this machine.

    Raises:
        UserError: it asks for one and there is none.
    """
    wanted = accelerator in ("gpu", "cuda")
    if wanted and not torch.cuda.is_available():
        raise UserError(
            f"accelerator: found '{accelerator}', but this machine has no GPU; accepted: auto, cpu"
        )
    return wanted or (accelerator == "auto" and torch.cuda.is_available())


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """The Trainer's precision for ours.

    Raises:
        UserError: a precision Lightning does not know.

    Example:
        >>> resolve_precision(32, "cpu"), resolve_precision("auto", "cpu") in ("bf16-mixed", "32-true")
        ('32-true', True)
    """
    wanted = {"32": FULL, "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}.get(
        str(precision), str(precision)
    )
    if wanted not in ACCEPTED:
        raise UserError(f"precision: found {precision!r}, accepted: {', '.join(ACCEPTED)}")
    gpu = uses_gpu(accelerator)
    if wanted.startswith("16-") and not gpu:
        rank_zero_warn(f"precision: {wanted} needs a GPU; using auto on this processor")
        wanted = AUTO
    if wanted != AUTO:
        return wanted
    if gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if cpu_computes_bf16() else FULL
