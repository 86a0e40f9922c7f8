"""What the spectrum monitor costs: python benchmarks/monitor.py [METHOD] [KEY=VALUE ...]

Trains for two epochs on digits, in a temporary folder, with a measurement at every step; prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

from solo_intl.config.compose import config_folder
from solo_intl.engine.monitor import IMAGES
from solo_intl.engine.pretrain import prepare
from solo_intl.experiments.cell import read_config
from solo_intl.register import register


def main(method: str = "intl", *overrides: str) -> None:
    """Measure one method."""
    register()
    with tempfile.TemporaryDirectory() as folder:
        fixed = (
            f"checkpoint.dir={folder}",
            "max_epochs=2",
            "monitor.every_n_steps=1",
            "checkpoint.enabled=false",
        )
        quiet = ("++enable_progress_bar=false", "++limit_val_batches=0")
        run = prepare(read_config(config_folder("pretrain/digits"), method, [*fixed, *quiet, *overrides]))
        assert run.monitor is not None
        assert run.folder is not None
        run.folder.mkdir(parents=True)
        started = time.perf_counter()
        run.trainer.fit(run.model, run.train)
        seconds = time.perf_counter() - started
        measured = len(run.monitor.found)
    step = (seconds - run.monitor.seconds) / run.clock.batches
    one = run.monitor.seconds / measured
    shares = {f"percent_every_{n}": round(100 * one / (n * step), 3) for n in (1, 10, 50)}
    images = min(IMAGES, run.cfg.optimizer.batch_size)
    facts = {"method": method, "images": images, "measurements": measured}
    print(json.dumps({**facts, "step_seconds": round(step, 4), "seconds_each": round(one, 4), **shares}))


if __name__ == "__main__":
    main(*sys.argv[1:])
