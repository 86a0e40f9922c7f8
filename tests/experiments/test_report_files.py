"""Claims about the files that the report reads: what a killed process left unfinished in metrics.csv is
skipped; a killed and resumed cell is one run, and what its later part did again is taken from there; another
folder is refused; what lies beside the cells is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from solo_intl.cli import main
from solo_intl.experiments import compare
from solo_intl.experiments.report.data import Run, read_comparison

WHOLE = "epoch,step,loss\r\n0,1,0.5\r\n1,3,0.25\r\n"


def run(*texts: str, folder: Path) -> Run:
    parts = []
    for i, text in enumerate(texts):
        parts.append(folder / str(i))
        parts[-1].mkdir()
        (parts[-1] / "metrics.csv").write_text(text, newline="")
    return Run(folder, 0, {"knn": 1.0, "linear": 1.0}, {}, tuple(parts), {})


@pytest.mark.parametrize(
    "torn", ["2", "2,", "2,5,0.12", "2,5,0.1e\r\n", "2,,0.1\r\n", "2,5,0.1,9\r\n", "2\r\n", "\0\0\0", "\r\n"]
)
def test_a_torn_line_is_skipped(tmp_path: Path, torn: str):
    found = run(WHOLE + torn, folder=tmp_path)
    assert found.rows == [{"epoch": 0, "step": 1, "loss": 0.5}, {"epoch": 1, "step": 3, "loss": 0.25}]
    assert found.series("loss") == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("text", ["", "epoch,st", "epoch,st\r\n0,1\r\n"])
def test_a_file_without_a_row(tmp_path: Path, text: str):
    assert run(text, folder=tmp_path).rows == []


def test_the_later_part_goes_before(tmp_path: Path):
    found = run(
        WHOLE + "2,5,0.2\r\n", "epoch,step,loss\r\n1,3,0.75\r\n2,5,0.5\r\n3,7,0.4\r\n", folder=tmp_path
    )
    assert found.series("loss", over="step") == [(2, 0.5), (4, 0.75), (6, 0.5), (8, 0.4)]


def test_a_resumed_cell_is_one_run(tmp_path: Path):
    """The first part had begun what the later one, which it does not know of, did again."""
    cell = tmp_path / "cells" / "intl" / "seed0"
    for name, steps, value in (("first", [0, 1, 2], 1.0), ("later", [2, 3], 9.0)):
        part = cell / "pretrain" / name
        part.mkdir(parents=True)
        lines = "".join(f"{step},{step},{value}\n" for step in steps)
        (part / "metrics.csv").write_text(f"epoch,step,loss\n{lines}")
        values = np.full(len(steps), value)
        np.savez(part / "spectrum.npz", step=np.array(steps), std=values, every=np.array(1))
    resumed = {"resumed_from": "/elsewhere/first/checkpoints/last.ckpt"}
    (part / "environment.json").write_text(json.dumps(resumed))
    result = {"accuracies": {"knn": 1.0, "linear": 1.0}, "run": "pretrain/later"}
    (cell / "result.json").write_text(json.dumps(result))
    (tmp_path / "config.yaml").write_text("name: made\n")
    (run,) = read_comparison(tmp_path).entries[0].runs
    assert run.parts == (part.with_name("first"), part)
    assert run.spectrum["step"].tolist() == [0, 1, 2, 3]
    assert run.spectrum["std"].tolist() == [1, 1, 9, 9]
    assert run.series("loss") == [(1, 1), (2, 1), (3, 9), (4, 9)]


def test_seconds_of_a_resumed_cell_whose_run_folders_were_removed(tmp_path: Path):
    """The seconds of its final figures are those of its last part, but for the clock's."""
    final = {"seconds": 10.0, "epochs": 20, "metrics": {"seconds": 200.0}}
    run = Run(tmp_path, 0, {"knn": 1.0, "linear": 1.0}, final, (), {})
    assert (run.seconds_per_epoch, run.hours) == (10.0, pytest.approx(200 / 3600))


def test_not_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(tmp_path)]) == 2
    assert f"found no comparison in {tmp_path}" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "found no folder" in capsys.readouterr().err


def test_what_is_no_cell_is_passed_over(tmp_path: Path):
    """A copy made by hand, say, or a file."""
    for name in ("seed0", "seed0-old", "seed", "notes"):
        cell = tmp_path / "cells" / "raw-pixels" / name
        cell.mkdir(parents=True)
        (cell / "result.json").write_text('{"accuracies": {"knn": 1.0, "linear": 1.0}}')
    (tmp_path / "cells" / "raw-pixels" / "seed7").write_text("")
    (tmp_path / "config.yaml").write_text("name: made\n")
    (entry,) = read_comparison(tmp_path).entries
    assert [(entry.name, run.seed) for run in entry.runs] == [("raw pixels", 0)]
    assert list(compare._write_results(tmp_path, [])) == ["raw pixels"]
