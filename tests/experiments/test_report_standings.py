"""Claims about the figures of the ranking's rows: methods at several learning rates have a line each; no bar
where the peak of memory is unknown; it is said that cells shared the processor, from what each recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from solo_intl.experiments.report.data import Comparison, Entry, Run, read_comparison
from solo_intl.experiments.report.page import _facts
from solo_intl.experiments.report.ranking import rank
from solo_intl.experiments.report.standings import cost, draw_ranking, sharing

CONFIG = "backbone: {name: vit_tiny}\noptimizer: {batch_size: 8}\n"


def trained(jobs: int | None, threads: int | None = None) -> Entry:
    return Entry("a", [Run(Path(), 0, {"knn": 1.0, "linear": 1.0}, {}, (), {}, jobs, threads)])


@pytest.mark.parametrize(
    ("last", "cells", "count", "each"),
    [
        (1, [(2, 1), (1, 2)], "1 to 2", ", 1 to 2 threads a cell"),
        (2, [(1, 2), (1, 2)], None, None),
        (2, [(None, None)], "2", ""),
        (1, [(None, None)], None, None),
        (4, [(None, None), (1, 8)], "1 to 4", ", 8 threads a cell"),
        (4, [], None, None),
    ],
)
def test_cells_that_shared_the_processor(
    last: int, cells: list[tuple[int, int]], count: str | None, each: str | None
):
    entries = [trained(*cell) for cell in cells]
    found = sharing(Comparison(Path(), {"jobs": last}, entries, []))
    said = f" {count} cells at a time, and whatever else ran, shared the processor{each}: "
    assert found.startswith(said if count else "")
    assert bool(found) == bool(count)


def test_a_cell_recorded_it(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("jobs: 1\n")
    for seed, record in enumerate(({"jobs": 2, "threads": 4}, {})):
        cell = tmp_path / "cells" / "a" / f"seed{seed}"
        cell.mkdir(parents=True)
        result = {"accuracies": {"knn": 1.0, "linear": 1.0}, **record}
        (cell / "result.json").write_text(json.dumps(result))
    runs = read_comparison(tmp_path).entries[0].runs
    assert [(run.jobs, run.threads) for run in runs] == [(2, 4), (None, None)]


def measured(folder: Path, name: str, linear: float, *memory: float | None) -> Entry:
    """A method with as many seeds as peaks of memory."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "metrics.csv").write_text("epoch,step,loss\n")
    final = {"seconds": 6.0, "epochs": 2}
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
