"""Claims about the figures of the ranking's rows: methods at several learning rates have a line each; no bar
where the peak of memory is unknown; it is said that cells shared the processor, from what each recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from solo_intl.experiments.report.data import Comparison, Entry, Run, read_comparison
from solo_intl.experiments.report.page import _facts, _table
from solo_intl.experiments.report.ranking import rank
from solo_intl.experiments.report.standings import cost, draw_ranking, sharing

CONFIG = "backbone: {name: vit_tiny}\noptimizer: {batch_size: 8}\n"


def trained(jobs: int, threads: int) -> Entry:
    return Entry("a", [Run(Path(), 0, {"knn": 1.0, "linear": 1.0}, {}, (), {}, jobs, threads)])


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            [(2, 1), (1, 2)],
            " 1 to 2 cells at a time, and whatever else ran, shared the processor, 1 to 2 threads a",
        ),
        ([(2, 1)], " 2 cells at a time, and whatever else ran, shared the processor, 1 thread a cell: "),
        ([(1, 2), (1, 2)], ""),
        ([], ""),
    ],
)
def test_cells_that_shared_the_processor(cells: list[tuple[int, int]], said: str):
    found = sharing(Comparison(Path(), {}, [trained(*cell) for cell in cells], []))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_cell_recorded_it(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("jobs: 1\n")
    cell = tmp_path / "cells" / "a" / "seed0"
    cell.mkdir(parents=True)
    result = {"accuracies": {"knn": 1.0, "linear": 1.0}, "jobs": 2, "threads": 4}
    (cell / "result.json").write_text(json.dumps(result))
    (run,) = read_comparison(tmp_path).entries[0].runs
    assert (run.jobs, run.threads) == (2, 4)


def measured(folder: Path, name: str, linear: float, *memory: float | None) -> Entry:
    """A method with as many seeds as peaks of memory."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "metrics.csv").write_text("epoch,step,loss\n")
    final: dict[str, Any] = {"seconds": 6.0, "epochs": 2, "metrics": {}}
    return Entry(
        name,
        [
            Run(
                folder,
                seed,
                {"knn": 1.0, "linear": linear},
                {**final, "peak_memory_gib": peak},
                (folder,),
                {},
            )
            for seed, peak in enumerate(memory)
        ],
    )


def test_rates_of_one_method_side_by_side(tmp_path: Path):
    entries = [
        measured(tmp_path, *item, 1.0) for item in (("a", 2.0), ("b", 4.0), ("b-x0.3", 3.0), ("b-x3", 1.0))
    ]
    comparison = Comparison(tmp_path, {}, entries, [])
    _, drawn = draw_ranking(rank(comparison), tmp_path)
    assert drawn.name == "ranking-rates"
    assert drawn.file.is_file()
    labels = re.findall(r"<text[^>]*>(a|b|b-x0.3|b-x3)</text>", drawn.inline)
    assert sorted(labels) == ["a", "b"]  # a line for each method, not for each row
    assert _facts(comparison)["methods"] == "2"
    assert len(draw_ranking(rank(Comparison(tmp_path, {}, entries[:2], [])), tmp_path)) == 1


def test_bars_of_memory(tmp_path: Path):
    def bars(*peaks: list[float | None]) -> list[str]:
        entries = [measured(tmp_path, f"m{i}", 1.0, *seeds) for i, seeds in enumerate(peaks)]
        figure = cost(rank(Comparison(tmp_path, {}, entries, [])), tmp_path)
        return re.findall(r"<text[^>]*>(1\.23|2\.76|nan)</text>", figure.inline)

    assert bars([1.23], [2.76]) == ["1.23", "2.76"]
    assert bars([1.23, 2.76], [1.23]) == ["2.76", "1.23"]  # the highest of any seed
    assert bars([1.23], [None]) == ["1.23"]


def test_times_of_several_seeds_have_a_deviation(tmp_path: Path):
    (row,) = rank(Comparison(tmp_path, {}, [entry := measured(tmp_path, "m", 1.0, 1.0, 1.0)], []))
    assert row.seconds_per_epoch == (3.0, 0.0)
    entry.runs[1].final["seconds"] = 18.0
    (row,) = rank(Comparison(tmp_path, {}, [entry], []))
    assert row.seconds_per_epoch == (6.0, pytest.approx(3 * 2**0.5))
    (line,) = _table(Comparison(tmp_path, {}, [entry], []), [row])
    assert line["seconds"] == "6.0 ± 4.2"
