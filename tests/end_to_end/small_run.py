"""One small pre-training run on digits, for tests of what follows it; and a command in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SMALL = [
    "max_epochs=1",
    "data.num_workers=0",
    "data.max_images=64",
    "optimizer.batch_size=16",
    "backbone.stem_stride=2",
    "method_kwargs.proj_hidden_dim=32",
    "method_kwargs.proj_output_dim=64",
]


def run_cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, one thread; DDP's further processes find the same packages."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "solo_intl.cli", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
