"""Claims about `solo-intl experiment theory | toy | instability | ablation`, never about what they find:

1. each measures every cell and writes JSON, CSV, PNG and SVG; each claim of the JSON has statement, source,
   criterion, measurements over all seeds, and whether it holds;
2. a second run measures only what is missing; what is killed in a cell or in writing one keeps the finished
   ones and measures that cell whole; each cell tells when and by which commit it was measured;
3. other settings under one name, unknown keys, sizes and values of another kind are refused in one line;
4. both sizes of every YAML are complete, and the full ones are the paper's.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from solo_intl.cli import main
from solo_intl.experiments.analysis import ANALYSES
from solo_intl.experiments.analysis.ablation import run_config
from solo_intl.experiments.analysis.instability import METHODS
from solo_intl.experiments.analysis.run import Cell, run_cells
from solo_intl.experiments.analysis.settings import SIZES, open_folder, read_settings

TINY = {
    "theory": ["cases=12"],
    "toy": ["steps=4", "every=2", "seeds=[0,1]", "iternorm=[5]", "powers=[0.3,0.5]", "intl.betas=[1.0]"],
    "instability": [
        *("dataset=digits", "max_images=60", "batch_size=20", "hidden=32", "dims=[9,10,20,24]"),
        *("seeds=[0,1]", "steps=3", "longer=4", "steps_above=2", "every=2"),
    ],
    "ablation": [
        *("config=pretrain/digits", "small_width=2", "steps=2", "warmup=1", "every=1"),
        *("batch_size=16", "hidden=16", "output=8"),
        *("iterations=[1]", "betas=[5.0]", "overrides.data.max_images=64"),
    ],
}


def run(analysis: str, folder: Path, *more: str) -> int:
    return main(["experiment", analysis, f"dir={folder}", *TINY[analysis], *more])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("experiments")
    assert [run(analysis, place) for analysis in ANALYSES] == [0] * len(ANALYSES)
    return {analysis: place / "experiment" / f"{analysis}-quick" for analysis in ANALYSES}


def numbers(node: Any) -> list[float]:
    if isinstance(node, dict):
        return [value for inner in node.values() for value in numbers(inner)]
    return [float(node)] if isinstance(node, int | float) else []


def record(folder: Path, analysis: str) -> dict[str, Any]:
    return json.loads((folder / f"{analysis}.json").read_text())


@pytest.mark.parametrize("analysis", ANALYSES)
def test_everything_is_measured_and_written(analysis: str, runs: dict[str, Path]) -> None:
    folder = runs[analysis]
    assert (folder / f"{analysis}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / f"{analysis}.svg").read_text()
    with (folder / f"{analysis}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    found = record(folder, analysis)
    names = [claim["name"] for claim in found["claims"]]
    assert len(set(names)) == len(names) >= 4
    for claim in found["claims"]:
        assert all(claim[key] for key in ("statement", "source", "criterion", "measured")), claim["name"]
        assert isinstance(claim["holds"], bool)
        assert numbers(claim["measured"])
        assert all(map(math.isfinite, numbers(claim["measured"])))
    assert found["environment"]["packages"]["torch"]
    cells = {file.stem: json.loads(file.read_text()) for file in (folder / "cells").glob("*.json")}
    assert found["seconds"] == {name: cell["seconds"] for name, cell in cells.items()}
    assert set(found["measured"]) == set(cells)
    for name, origin in found["measured"].items():
        assert origin == {key: cells[name][key] for key in ("date", "commit", "processor_seconds")}
        assert origin["processor_seconds"] > 0
        assert origin["date"] <= found["environment"]["date"]


def test_every_seed_counts(runs: dict[str, Path]) -> None:
    toy, instability = record(runs["toy"], "toy"), record(runs["instability"], "instability")
    for claim in toy["claims"]:
        assert all(spread["n"] == 2 for spread in claim["measured"].values())
    counted = {key: of for claim in instability["claims"] for key, of in claim["measured"].items()}
    assert {of["of"] for of in counted.values()} == {2}
    # 9 and 10 are d < m / 2 and m = 2 d, 20 and 24 are d = m and d > m
    assert set(counted) == {f"{method}, d={d}" for method in METHODS for d in (9, 10, 20, 24)}
    ablation = record(runs["ablation"], "ablation")
    assert set(ablation["claims"][0]["measured"]) == {"INTL T=1, beta=5", "IterNorm alone T=5", "plain MSE"}


def test_goes_on_where_it_stood(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs["toy"]
    files = sorted((folder / "cells").glob("*.json"))
    before = {file: (file.stat().st_mtime_ns, json.loads(file.read_text())) for file in files}
    files[3].unlink()
    (folder / "toy.json").unlink()
    assert run("toy", folder.parents[1]) == 0
    assert f"{len(files)} cells, {len(files) - 1} finished before" in capsys.readouterr().out
    again = {file: (file.stat().st_mtime_ns, json.loads(file.read_text())) for file in files}
    assert [file for file in files if again[file][0] != before[file][0]] == [files[3]]
    origin = {"seconds": 0, "processor_seconds": 0, "date": "", "commit": ""}
    same = [{**cells[files[3]][1], **origin} for cells in (before, again)]
    assert same[0] == same[1]  # the same seed gives the same run
    assert not list(folder.rglob("*.partial"))
    assert (folder / "toy.json").is_file()


def test_killed_in_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def cell(name: str, *, kill: bool = False) -> Cell:
        def measure() -> dict[str, Any]:
            calls.append(name)
            if kill:
                raise KeyboardInterrupt
            return {"value": name}

        return measure

    def killed_in_writing(path: Path, content: Any) -> None:
        path.with_suffix(".json.partial").write_text("{")
        raise KeyboardInterrupt

    names = ("a", "b", "c")
    with pytest.raises(KeyboardInterrupt):
        run_cells(tmp_path, {name: cell(name, kill=name == "b") for name in names})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("solo_intl.experiments.analysis.run.write_json", killed_in_writing)
        run_cells(tmp_path, {name: cell(name) for name in names})
    found = run_cells(tmp_path, {name: cell(name) for name in names})
    assert calls == ["a", "b", "b", "b", "c"]
    assert [each["value"] for each in found.values()] == ["a", "b", "c"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json", "c.json"]


def test_settings_are_written_once_and_whole(tmp_path: Path) -> None:
    settings, _ = read_settings("toy", ["noise=1"])
    assert isinstance(settings.noise, float)
    (tmp_path / "settings.yaml.partial").write_text("points: 5")  # of a killed command
    open_folder(tmp_path, settings)
    written = (tmp_path / "settings.yaml").stat().st_mtime_ns
    assert [file.name for file in tmp_path.iterdir()] == ["settings.yaml"]
    open_folder(tmp_path, settings)
    assert (tmp_path / "settings.yaml").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["toy", "steps=5"], "holds results of other settings"),
        (["toy", "step=5"], "step: unknown key, nearest: steps"),
        (["toy", "intl.gamma=5"], "intl.gamma: unknown key"),
        (["toy", "steps=many"], "steps: found 'many', accepted: a whole number, such as"),
        (["toy", "size=huge"], "size: found 'huge', accepted: quick, full"),
        (["toy", "quick"], "found 'quick', accepted: KEY=VALUE"),
        (["instability", "dims=[4]"], "dims: found 4, accepted: more than 8"),
        (["ablation", "betas=[1.0]"], "betas: found 1, accepted: one for each of the 3 iterations"),
        (["toys"], "found 'toys', accepted: demo, theory, toy, instability, ablation (nearest: toy)"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = runs["toy"].parents[1] if arguments[0] == "toy" else tmp_path
    assert main(["experiment", *arguments, *([f"dir={place}"] * (arguments != ["toys"]))]) == 2
    assert not list(tmp_path.iterdir())
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_both_sizes_are_complete() -> None:
    for analysis in ANALYSES:
        keys = [set(read_settings(analysis, [f"size={size}"])[0]) for size in SIZES]
        assert keys[0] == keys[1], analysis


def test_full_sizes_are_the_papers() -> None:
    toy, instability, ablation = (
        read_settings(name, ["size=full"])[0] for name in ("toy", "instability", "ablation")
    )
    assert (toy.points, toy.batch_size, toy.lr, len(toy.seeds)) == (512, 32, 0.1, 10)
    assert (instability.batch_size, len(instability.seeds)) == (512, 10)
    assert list(instability.dims) == [64, 128, 256, 512, 1024, 2048]
    assert instability.longer > instability.steps >= 500
    assert instability.steps_above >= 20
    assert list(zip(ablation.iterations, ablation.betas, strict=True)) == [(5, 0.05), (3, 0.5), (1, 5.0)]
    assert (ablation.batch_size, ablation.hidden, ablation.output) == (256, 1024, 128)
    assert (ablation.lr, ablation.weight_decay, ablation.warmup, ablation.drop) == (3e-3, 1e-5, 500, 0.2)
    assert ablation.steps >= 1000
    assert (ablation.small_width, run_config(ablation, 0).backbone.name) == (0, "resnet18")
    assert run_config(ablation, 0).data.dataset == "fashion_mnist"
