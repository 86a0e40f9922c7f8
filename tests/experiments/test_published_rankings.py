"""Claims: each ranking of docs/baselines.md agrees with the file in benchmarks/ that it names: means and
deviations over seeds, order, warnings of the monitor, and seconds a cell where it has them; so do its table
of learning rates on Fashion-MNIST and the README's of the demo. A committed report ranks what its file holds.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean, stdev

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "baselines.md").read_text()
HEADER = "| | linear | 5-NN | warned |"
SPELT = {
    "rawpixels": "raw pixels",
    "untrainednetwork": "untrained",
    "mocov2+": "mocov2plus",
    "barlowtwins": "barlow_twins",
    "intl,momentumtarget": "intl_ema",
    "supcon(useslabels)": "supcon",
    "mae(avit)": "mae",
}


def key(shown: str) -> str:
    """A row's name as the results have it."""
    squeezed = re.sub(r"[*\s-]", "", shown.lower())
    return SPELT.get(squeezed, squeezed)


def spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def rows_under(header: str, page: str) -> list[list[str]]:
    """Cells, without bold, of the rows of the table with this header."""
    lines = page[page.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


def ranking(file: str) -> tuple[list[str], list[dict[str, str]], dict[str, list[dict]]]:
    """Header and rows of the table of the section that names the file first, and the file's results."""
    sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    (section,) = [part for part in sections if file in part and HEADER in part]
    lines = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in section[section.index(HEADER) :].split("\n\n")[0].splitlines()
    ]
    header, _, *rows = lines
    results = json.loads((ROOT / "benchmarks" / file).read_text())["results"]
    return header, [dict(zip(header, row, strict=True)) for row in rows], results


@pytest.mark.parametrize("name", ["digits", "digits-head", "fashion-mnist"])
def test_a_ranking_is_what_its_file_says(name: str):
    header, rows, results = ranking(f"compare-{name}.json")
    assert sorted(key(row[""]) for row in rows) == sorted(results)
    assert [row["linear"] for row in rows] == sorted(
        (row["linear"] for row in rows), key=lambda shown: -float(shown.split()[0])
    )
    for row in rows:
        name, seeds = key(row[""]), results[key(row[""])]
        assert len(seeds) == 3
        for column, measured in (("linear", "linear"), ("5-NN", "knn")):
            values = [seed["accuracies"][measured] for seed in seeds]
            assert row[column] == spread(values), name
        warned = [seed["pretraining"]["spectrum"]["warned"] for seed in seeds if "pretraining" in seed]
        assert row["warned"] == (str(sum(map(bool, warned))) if warned else ""), name
        if "seconds a cell" in header:
            seconds = sorted(seed["seconds"] for seed in seeds)
            assert row["seconds a cell"] == f"{seconds[0]:.0f} to {seconds[-1]:.0f}", name


@pytest.mark.parametrize("name", ["digits", "digits-head", "fashion-mnist"])
def test_a_committed_report_ranks_what_its_file_holds(name: str):
    page = (ROOT / "docs" / "reports" / name / "report.md").read_text()
    results = json.loads((ROOT / "benchmarks" / f"compare-{name}.json").read_text())["results"]
    rows = rows_under("| | method | linear % | 5-NN % |", page)
    rows = [[row[1].removesuffix(" (uses labels)"), *row[2:4]] for row in rows]
    assert sorted(method for method, *_ in rows) == sorted(results)
    for method, linear, knn in rows:
        values = {key: [seed["accuracies"][key] for seed in results[method]] for key in ("linear", "knn")}
        assert (linear, knn) == (spread(values["linear"]), spread(values["knn"])), method


def test_the_readmes_table_is_what_the_demo_wrote():
    rows = rows_under("| features | 5-NN | linear |", (ROOT / "README.md").read_text())
    results = json.loads((ROOT / "benchmarks" / "demo-digits-3-seeds.json").read_text())["results"]
    for (shown, *cells), (name, seeds) in zip(rows, results.items(), strict=True):
        assert shown.removesuffix(", 20 epochs") == name
        assert cells == [spread([seed[measured] for seed in seeds]) for measured in ("knn", "linear")]


def test_the_table_of_rates_is_what_its_files_say():
    rows = rows_under("| base rate | x0.3 | x1 | x3 |", PAGE)
    grid, comparison = (
        json.loads((ROOT / "benchmarks" / file).read_text())["results"]
        for file in ("compare-fashion-mnist-rates.json", "compare-fashion-mnist.json")
    )
    assert [key(shown.split(",")[0]) for shown, *_ in rows] == ["intl", "mocov2plus"]
    for shown, *cells in rows:
        name = key(shown.split(",")[0])
        measured = (grid[f"{name}-x0.3"], comparison[name], grid[f"{name}-x3"])
        assert cells == [spread([seed["accuracies"]["linear"] for seed in seeds]) for seeds in measured]
