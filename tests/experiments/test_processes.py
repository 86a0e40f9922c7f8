"""Claims about the processes of a comparison's cells: one that was killed goes on where it stood; Ctrl-C ends
them, and none begins; one that cannot be started is recorded; each has a GPU of its own, to be judged on too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from solo_intl.engine.run_folder import write_json
from solo_intl.experiments import compare as comparing
from solo_intl.experiments.apart import run_apart
from solo_intl.experiments.cell import device_of
from solo_intl.experiments.grid import Cell, cells_of
from solo_intl.experiments.report.data import read_comparison


def command(folder: Path, *more: str) -> list[str]:
    """A small comparison of one cell at a time, as a user types it."""
    command = [sys.executable, "-m", "solo_intl.cli", "compare", "--config-name", "digits", "name=small"]
    command += ["++overrides.data.max_images=64", "++overrides.data.num_workers=0"]
    command += ["++overrides.optimizer.batch_size=32", "++overrides.precision=32-true"]
    return [*command, "report=false", f"checkpoint.dir={folder}", *more]


def alone() -> None:
    """For a command of the suite: a suite in the background ignores Ctrl-C, and on a busy machine two threads
    wait for each other."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def test_goes_on_in_the_middle_of_a_cell(tmp_path: Path):
    """Killed outright; the cell's second run goes on after the epoch that the first had done last."""
    six = command(tmp_path, "methods=[simsiam]", "++overrides.max_epochs=6")
    with subprocess.Popen(six, stdout=subprocess.PIPE, text=True, preexec_fn=alone) as killed:
        assert killed.stdout is not None
        assert any("simsiam, seed 0: epoch 2/6" in line for line in killed.stdout)
        killed.kill()
        killed.stdout.read()  # to its end, which is that of the cell's process too
    done = subprocess.run(six, capture_output=True, text=True, timeout=600, check=False, preexec_fn=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"3 cells, 2 finished before; about \d+ min left", done.stdout)
    assert "simsiam, seed 0: solo-intl pretrain: auto_resume continues" in done.stdout
    assert "epoch 1/6" not in done.stdout
    (run,) = next(e for e in read_comparison(tmp_path / "compare" / "small").entries if e.trained).runs
    assert len(run.parts) == 2
    assert [epoch for epoch, _ in run.series("seconds")] == list(range(1, 7))
    assert run.final["steps"] == 12


def test_interrupted_at_the_keyboard(tmp_path: Path):
    """No cell begins any more, none goes on, none has failed."""
    fifty = command(tmp_path, "methods=[simsiam,vicreg]", "++overrides.max_epochs=50")
    with subprocess.Popen(
        fifty,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=alone,
    ) as stopped:
        assert stopped.stdout is not None
        assert any("simsiam, seed 0: epoch 2/50" in line for line in stopped.stdout)
        os.kill(stopped.pid, signal.SIGINT)  # the command alone: it has to end its cells
        out, error = stopped.communicate(timeout=60)  # to its end, which is that of the cells' processes too
    assert stopped.returncode == 130
    assert error.splitlines()[-1] == "solo-intl: interrupted"
    assert "vicreg" not in out
    cells = tmp_path / "compare" / "small" / "cells"
    assert {file.parent.parent.name for file in cells.glob("*/seed0/result.json")} == {
        "raw-pixels",
        "untrained",
    }


def test_a_cell_that_is_just_starting_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begun, codes = threading.Event(), []

    def late(*_: object, environment: dict[str, str]) -> int | None:
        begun.set()
        time.sleep(0.5)
        codes.append(run_apart(time.sleep, 60))
        return codes[0]

    def interrupted(*_: object) -> None:
        begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "run_apart", late)
    monkeypatch.setattr(comparing, "wait", interrupted)
    grid = {"pretrain": "pretrain/digits", "methods": ["byol"], "seeds": [0]}
    (cell,) = (cell for cell in cells_of(OmegaConf.create(grid), tmp_path) if cell.file)
    with pytest.raises(KeyboardInterrupt):
        comparing._run_all(tmp_path, [cell], [cell], jobs=1)
    assert codes == [-signal.SIGTERM]
    assert not cell.result


def test_a_cell_without_a_process_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, environment: dict[str, str]) -> int:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(comparing, "run_apart", refuse)
    grid = {"pretrain": "pretrain/digits", "methods": ["byol", "intl"], "seeds": [0]}
    cells = [cell for cell in cells_of(OmegaConf.create(grid), tmp_path) if cell.file]
    comparing._run_all(tmp_path, cells, cells, jobs=1)
    said = "no process could be started: Cannot allocate memory"
    assert [cell.result["error"] for cell in cells] == [said, said]


@pytest.mark.parametrize(("devices", "found"), [(1, "cuda:0"), ("1", "cuda:0"), ([1], "cuda:1")])
def test_a_cell_is_judged_where_it_trained(devices: object, found: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # no machine of the suite has one
    assert device_of(OmegaConf.create({"devices": devices, "accelerator": "auto"})) == found
    assert device_of(OmegaConf.create({"devices": devices, "accelerator": "cpu"})) == "cpu"


def test_cells_at_a_time_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On two GPUs, of which no machine of the suite has any: each cell is only told which is its own."""
    grid = {"pretrain": "pretrain/digits", "methods": ["byol", "intl"], "seeds": [0]}
    cells = [cell for cell in cells_of(OmegaConf.create(grid), tmp_path) if cell.file]
    told, both = [], threading.Barrier(2, timeout=60)

    def begin(_: object, cell: Cell, *__: object, environment: dict[str, str]) -> int:
        both.wait()
        told.append(environment)
        cell.folder.mkdir(parents=True)
        write_json(cell.folder / "result.json", {"accuracies": {"knn": 1.0, "linear": 1.0}, "seconds": 1})
        return 0

    monkeypatch.setattr(comparing, "own_gpu", lambda place: {"CUDA_VISIBLE_DEVICES": str(place)})
    monkeypatch.setattr(comparing, "run_apart", begin)
    comparing._run_all(tmp_path, cells, cells, jobs=2)
    assert sorted(found["CUDA_VISIBLE_DEVICES"] for found in told) == ["0", "1"]
    told.clear()
    for cell in cells:
        shutil.rmtree(cell.folder)
        cell.cfg.devices = [3]  # chosen by the user
    comparing._run_all(tmp_path, cells, cells, jobs=2)
    assert told == [{}, {}]
