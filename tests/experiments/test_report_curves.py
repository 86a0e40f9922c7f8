"""Claims about what the report says beside its curves: that cells shared the processor, from what each cell
recorded; and of how many validation images the curves are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solo_intl.experiments.report.curves import _shared, _validated
from solo_intl.experiments.report.data import Comparison, Entry, Run, read_comparison


def trained(jobs: int | None, threads: int | None = None) -> Entry:
    return Entry("a", [Run(Path(), 0, {"knn": 1.0, "linear": 1.0}, {}, (), {}, jobs, threads)])


@pytest.mark.parametrize(
    ("last", "cells", "said"),
    [
        (1, [(2, 1), (1, 2)], " 1 to 2 cells at a time shared the processor, with 1 to 2 threads each"),
        (2, [(1, 2), (1, 2)], ""),
        (2, [(None, None)], " 2 cells at a time shared the processor, so"),
        (1, [(None, None)], ""),
        (4, [(None, None), (1, 8)], " 1 to 4 cells at a time shared the processor, with 8 threads each"),
        (4, [], ""),
    ],
)
def test_cells_that_shared_the_processor(last: int, cells: list[tuple[int, int]], said: str):
    entries = [trained(*cell) for cell in cells]
    found = _shared(Comparison(Path(), {"jobs": last}, entries, []))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_cell_recorded_it(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("jobs: 1\n")
    for seed, record in enumerate(({"jobs": 2, "threads": 4}, {})):
        cell = tmp_path / "cells" / "a" / f"seed{seed}"
        cell.mkdir(parents=True)
        result = {"accuracies": {"knn": 1.0, "linear": 1.0}, **record}
        (cell / "result.json").write_text(json.dumps(result))
    runs = read_comparison(tmp_path).entries[0].runs
    assert [(run.jobs, run.threads) for run in runs] == [(2, 4), (None, None)]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([("2", 32), ("2", 32)], ", of at most 64 validation images (limit"),
        ([("2", 32), ("3", 64)], ", of at most 64 to 192 validation images (limit"),
        ([("2", 32), ("1.0", 32)], ", of at most 64 validation images in some cells (limit"),
        ([("null", 32), ("0.5", 32)], ""),
    ],
)
def test_validation_images_of_a_curve(tmp_path: Path, cells: list[tuple[str, int]], said: str):
    entries = []
    for i, (limit, batch) in enumerate(cells):
        part = tmp_path / str(i)
        part.mkdir()
        text = f"limit_val_batches: {limit}\noptimizer: {{batch_size: {batch}}}\n"
        (part / "config.yaml").write_text(text)
        entries.append(Entry(str(i), [Run(part, 0, {"knn": 1.0, "linear": 1.0}, {}, (part,), {})]))
    found = _validated(Comparison(tmp_path, {}, entries, []))
    assert found.startswith(said)
    assert bool(found) == bool(said)
