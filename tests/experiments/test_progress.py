"""Claims about the time that a grid still takes: finished cells tell of those of their method, running ones
of themselves, a budget of minutes of all; what is not known is not made up."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from omegaconf import OmegaConf

from solo_intl.experiments.grid import Cell
from solo_intl.experiments.progress import seconds_left


def test_time_left(tmp_path: Path):
    def cell(name: str, seconds: float | None) -> Cell:
        place = tmp_path / name / str(len(grid))
        if seconds is not None:
            place.mkdir(parents=True)
            (place / "result.json").write_text(json.dumps({"seconds": seconds, "accuracies": {}}))
        return Cell(name, OmegaConf.create({"checkpoint": {"dir": str(place)}}))

    grid: list[Cell] = []
    grid.append(cell("raw pixels", 2))
    byol, byol_again, swav = cell("byol", None), cell("byol", None), cell("swav", None)
    assert seconds_left(grid, [byol, swav], {}, 1) is None  # raw pixels tell nothing of a method
    grid += [cell("byol", 100), cell("vicreg", 300)]
    waiting = [byol, byol_again, swav]
    assert seconds_left(grid, waiting, {}, 1) == 100 + 100 + 200
    other_rate = Cell("byol-x3", byol.cfg, "byol")
    assert seconds_left(grid, [other_rate], {}, 1) == 100
    assert seconds_left([Cell("byol-x3", grid[1].cfg, "byol"), grid[2]], [byol], {}, 1) == 100
    assert seconds_left(grid, waiting, {byol.folder: 40, swav.folder: 500}, 1) == 60 + 60
    assert seconds_left(grid, [byol, swav], {}, 2) == 200  # one cell cannot be shared
    assert seconds_left(grid, [], {}, 2) == 0


def running(place: Path, text: str, age: float = 0, minutes: float | None = None) -> Cell:
    """A cell of 10 epochs with a run folder, written to so many seconds ago."""
    run = place / "pretrain" / "run"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text(text)
    os.utime(run / "metrics.csv", 2 * (time.time() - age,))
    return Cell(
        place.name,
        OmegaConf.create({"checkpoint": {"dir": str(place)}, "max_epochs": 10}),
        place.name,
        minutes,
    )


def near(found: float | None, expected: float) -> bool:
    """Within what the test itself takes."""
    return found is not None and expected - 5 < found <= expected + 0.01


def test_a_running_cell_tells_of_itself_and_its_method(tmp_path: Path):
    epochs = "epoch,step,seconds\n0,9,100\n1,19,200\n"
    byol = running(tmp_path / "byol", epochs)
    begun = {byol.folder: 300.0}
    assert near(seconds_left([byol], [byol], begun, 1), 1000 - 200)
    again = Cell("byol", OmegaConf.create({"checkpoint": {"dir": str(tmp_path / "again")}}), "byol")
    assert near(seconds_left([byol, again], [byol, again], begun, 1), 800 + 1000)
    within = running(tmp_path / "within", f"{epochs}1,24,\n")  # half of the third epoch's steps are done
    assert near(seconds_left([within], [within], {within.folder: 300.0}, 1), 1000 - 250)
    old = running(tmp_path / "old", epochs, age=60)
    assert near(seconds_left([old], [old], {old.folder: 300.0}, 1), 800 - 60)
    assert near(seconds_left([old], [old], {old.folder: 10.0}, 1), 800 - 10)  # resumed ten seconds ago
    assert near(seconds_left([old], [old], {}, 1), 800)  # killed, and not begun again
    young = running(tmp_path / "young", "epoch,step,seconds\n0,4,\n")
    assert seconds_left([young], [young], {young.folder: 5.0}, 1) is None


def test_evaluation_takes_that_of_the_untrained_network(tmp_path: Path):
    place = tmp_path / "untrained"
    place.mkdir()
    (place / "result.json").write_text(json.dumps({"seconds": 30, "accuracies": {}}))
    untrained = Cell("untrained", OmegaConf.create({"checkpoint": {"dir": str(place)}}))
    ended = running(tmp_path / "ended", "epoch,step,seconds\n9,99,1000\n", age=12)
    assert near(seconds_left([untrained, ended], [ended], {ended.folder: 1012.0}, 1), 30 - 12)


def test_minutes_are_known_before_any_cell(tmp_path: Path):
    cells = [
        Cell(name, OmegaConf.create({"checkpoint": {"dir": str(tmp_path / name)}}), file, minutes=2.0)
        for name, file in (("raw pixels", ""), ("untrained", ""), ("byol", "byol"), ("swav", "swav"))
    ]
    assert seconds_left(cells, cells, {}, 1) == 240
    assert seconds_left(cells, cells, {}, 2) == 120
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "budget.json").write_text('{"max_epochs": 4}')
    slow = running(tmp_path / "slow", "epoch,step,seconds\n0,9,20\n", minutes=2.0)
    assert near(seconds_left([slow], [slow], {slow.folder: 20.0}, 1), 4 * 20 - 20)
    (slow.folder / "budget.json").write_text('{"max_epochs": 40}')  # it was quicker when it was measured
    assert near(seconds_left([slow], [slow], {slow.folder: 20.0}, 1), 120 - 20)
