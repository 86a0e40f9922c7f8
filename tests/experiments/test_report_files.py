"""Claims about the files that the report reads: what a killed process left unfinished in metrics.csv is
skipped, and what a later part of a run did again is taken from the later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo_intl.experiments.report.data import Run

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
