"""Claims about the report of a comparison, on the folder of real (tiny) cells: one HTML file that names no
other address, PNG figures and Markdown beside it; every part is drawn that the cells have material for, and
a part without material says so; the ranking is by mean linear accuracy with SciPy's paired test against the
first and Holm's correction, and says whose seeds are missing; curves are of training where validation was
rare; a failed cell is shown with its error, and a killed and resumed cell as one run; methods get different
looks; in a real browser it logs no error and is never wider than the window."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from solo_intl.cli import main
from solo_intl.engine.run_folder import environment, write_json
from solo_intl.experiments import compare, grid
from solo_intl.experiments.report import spectra
from solo_intl.experiments.report.curves import draw_curves, online, own_losses
from solo_intl.experiments.report.data import read_comparison
from solo_intl.experiments.report.page import _environments, _facts, _table
from solo_intl.experiments.report.pictures import nearest
from solo_intl.experiments.report.ranking import holm, rank
from solo_intl.experiments.report.standings import cost
from solo_intl.experiments.report.style import Styles

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TITLES = [title for title, _, _ in spectra._MEASURES.values()]
SETTINGS = {
    "name": "tiny",
    "pretrain": "pretrain/digits",
    "methods": ["intl", "simclr"],
    "seeds": [0, 1],
    "jobs": 1,
    "overrides": {
        "backbone": {"stem_stride": 2},
        "data": {"max_images": 64, "num_workers": 0},
        "max_epochs": 1,
        "limit_val_batches": 2,
        "optimizer": {"batch_size": 32},
        "precision": "32-true",
        "monitor": {"every_n_steps": 1},
        "enable_progress_bar": False,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells as ``compare`` runs them, in this process; those of seed 1 of both references are missing."""
    place = tmp_path_factory.mktemp("report") / "compare" / "tiny"
    cfg = OmegaConf.create({**SETTINGS, "checkpoint": {"dir": str(place.parents[1])}})
    for cell in grid.cells_of(cfg, place):
        if cell.name in ("intl", "simclr") or cell.cfg.seed == 0:
            result = compare._measure(cell)
            write_json(cell.folder / "result.json", {**result, "seconds": 1.0, "environment": environment()})
    broken = place / "cells" / "byol" / "seed0"
    broken.mkdir(parents=True)
    write_json(broken / "result.json", {"error": "ValueError: <b>made</b> to fail", "environment": {}})
    grid.open_folder(place, cfg, list(grid.cells_of(cfg, place)))
    assert main(["report", str(place)]) == 0
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report" / "report.html").read_text()


def test_everything_is_in_one_file(folder: Path, page: str):
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#|data:)|@import|<script|<link(?! rel=\"icon\" href=\"data)", page)
    for title in (
        "Ranking",
        "Accuracy",
        "Cost",
        "Losses",
        "Spectrum",
        "Maps",
        "Nearest",
        "Views",
        "Settings",
    ):
        assert f"<h2>{title}" in page
    assert "Left out" not in page
    for name in ("intl", "simclr"):
        assert f"{name}: full configuration" in page
    assert "proj_output_dim: 1024" in page
    assert "generation:" in page
    assert "&lt;b&gt;made&lt;/b&gt; to fail" in page


def test_figures_and_markdown(folder: Path):
    figures = {file.stem for file in (folder / "report" / "figures").glob("*.png")}
    expected = {"ranking", "accuracy-epochs", "accuracy-time", "cost", "loss-intl", "losses", "eigenvalues"}
    expected |= {"eigenvalues-over-training", "spectrum-effective-rank", "spectrum-std", "views-1"}
    expected |= {
        f"{kind}-{name}" for kind in ("map", "neighbours") for name in ("intl", "raw-pixels", "untrained")
    }
    assert expected <= figures
    for name in figures:
        if not name.startswith(("map", "neighbours", "views")):
            continue
        with Image.open(folder / "report" / "figures" / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5  # not blank
    text = (folder / "report" / "report.md").read_text()
    linked = re.findall(r"\]\(figures/(.+?)\.png\)", text)
    assert set(linked) == figures
    assert "| 1 |" in text


def test_every_method_has_its_line_in_every_figure_of_curves(page: str):
    """Inside the axes, whose paths are clipped; those of the legend are not."""
    pictures = dict(re.findall(r"<h3>([^<]*)</h3>\s*<svg(.*?)</svg>", page, flags=re.DOTALL))
    looks = Styles(["intl", "simclr"])
    for title in (
        "Accuracy over epochs",
        "Accuracy over time",
        *TITLES,
        "Eigenvalues at the end of training",
    ):
        clipped = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="([^"]*)"', pictures[title])
        for name in ("intl", "simclr"):
            stroke = f"stroke: {looks.of(name)['color'].lower()}"
            assert sum(stroke in style for style in clipped) == 1, (title, name)


def test_the_ranking_is_that_of_the_cells(folder: Path):
    rows = rank(read_comparison(folder))
    means = [row.linear[0] for row in rows]
    assert means == sorted(means, reverse=True)
    assert {row.entry.name for row in rows} == {"intl", "simclr", "raw pixels", "untrained"}
    first, second = [row for row in rows if row.entry.trained]
    scores = [
        [
            json.loads((folder / "cells" / row.entry.name / f"seed{seed}" / "result.json").read_text())
            for seed in (0, 1)
        ]
        for row in (first, second)
    ]
    a, b = ([cell["accuracies"]["linear"] for cell in cells] for cells in scores)
    assert first.linear == pytest.approx((np.mean(a), np.std(a, ddof=1)))
    assert second.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert (first.p, first.difference) == (None, None)


def test_what_a_reader_must_know_of_it(folder: Path, page: str):
    assert "<dt>not finished yet</dt><dd>raw pixels 1, untrained 1</dd>" in page
    assert "<dt>backbone</dt><dd>resnet18, 3x3 stem of stride 2</dd>" in page
    assert "<dt>batch</dt><dd>32</dd>" in page
    comparison = read_comparison(folder)
    lines = {line["name"]: line for line in _table(comparison, rank(comparison))}
    assert sorted(lines[name]["place"] for name in ("intl", "simclr")) == ["1", "2"]
    assert lines["raw pixels"]["place"] == lines["untrained"]["place"] == ""
    assert (lines["intl"]["seeds"], lines["untrained"]["seeds"]) == ("2", "1 of 2")
    rows = [replace(row, p=1e-5, adjusted=0.01) for row in rank(comparison)]
    assert {(line["p"], line["adjusted"]) for line in _table(comparison, rows)} == {("< 0.001", "0.010")}
    assert "Environment of every cell" in page
    comparison.runs[0].environment["python"] = "0.1"
    assert len(_environments(comparison)) == 2


def test_curves_without_much_validation(folder: Path):
    comparison = read_comparison(folder)
    assert online(comparison) == "val_acc1"
    run = next(run for run in comparison.runs if run.parts)
    later = [
        {**row, "epoch": row["epoch"] + n} for n in (1, 2) for row in run.rows if "train_acc1_epoch" in row
    ]
    run.rows.extend([{key: row[key] for key in row if key != "val_acc1"} for row in later])
    assert online(comparison) == "train_acc1_epoch"


def test_holm():
    # Holm 1979: the smallest p times the number of tests, then one fewer, never falling, never above one
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_neighbours_are_the_nearest():
    angles = np.deg2rad([0, 3, 50, 90, 93, 180, 181, 270, 275, 300])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 11)[:, None]  # lengths don't count
    queries, found = nearest({"x": x.astype(np.float16), "y": np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])})
    assert queries.tolist() == [0, 3, 5, 7]
    assert found[:, 0].tolist() == [1, 4, 6, 8]
    assert all(query not in row for query, row in zip(queries, found, strict=True))


def test_a_resumed_cell_is_one_run(folder: Path, tmp_path: Path):
    cell = shutil.copytree(folder / "cells" / "intl" / "seed0", tmp_path / "cells" / "intl" / "seed0")
    shutil.copy(folder / "config.yaml", tmp_path)
    result = json.loads((cell / "result.json").read_text())
    first = cell / result["run"]
    later = shutil.copytree(first, first.with_name("later"))
    lines = (first / "metrics.csv").read_text().splitlines()
    steps = lines[0].split(",").index("step")
    shifted = [
        ",".join([*(c := line.split(","))[:steps], str(int(c[steps]) + 2), *c[steps + 1 :]])
        for line in lines[1:]
    ]
    (later / "metrics.csv").write_text("\n".join([lines[0], *shifted]) + "\n")
    # the first part had begun what the later one did again
    (first / "metrics.csv").write_text("\n".join([*lines, *shifted]) + "\n")
    with np.load(first / "spectrum.npz") as file:
        arrays = dict(file)
    steps_of = arrays["step"]
    np.savez(later / "spectrum.npz", **{**arrays, "step": steps_of + 2, "std": arrays["std"] + 9})
    twice = {
        key: value if value.ndim == 0 else np.concatenate([value, value]) for key, value in arrays.items()
    }
    np.savez(first / "spectrum.npz", **{**twice, "step": np.concatenate([steps_of, steps_of + 2])})
    resumed = {"resumed_from": f"/elsewhere/{first.name}/checkpoints/last.ckpt"}
    (later / "environment.json").write_text(json.dumps(resumed))
    write_json(cell / "result.json", {**result, "run": str(later.relative_to(cell))})
    (run,) = read_comparison(tmp_path).entries[0].runs
    assert run.parts == (first, later)
    assert run.spectrum["step"].tolist() == [0, 1, 2, 3]
    assert (run.spectrum["std"] > 9).tolist() == [False, False, True, True]  # the later part's
    assert len(run.rows) == 2 * (len(lines) - 1)


def test_alarms_are_told_by_method(folder: Path, tmp_path: Path):
    assert spectra.alarms(read_comparison(folder)) == ""
    shutil.copytree(folder / "cells", tmp_path / "cells", ignore=shutil.ignore_patterns("*.ckpt"))
    shutil.copy(folder / "config.yaml", tmp_path)
    for seed, step in (0, 19), (1, 9):
        file = tmp_path / "cells" / "simclr" / f"seed{seed}" / "result.json"
        result = json.loads(file.read_text())
        result["pretraining"]["spectrum"]["warned"] = {"step": step, "reason": f"std {step}"}
        write_json(file, result)
    said = spectra.alarms(read_comparison(tmp_path))
    assert said == "The monitor warned of collapse in simclr (2 of 2 seeds, first at step 10: std 9)."


def test_what_never_changes_is_not_drawn(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "cells", tmp_path / "cells", ignore=shutil.ignore_patterns("*.ckpt"))
    shutil.copy(folder / "config.yaml", tmp_path)
    for file in tmp_path.glob("cells/simclr/seed*/pretrain/*/metrics.csv"):
        with file.open(newline="") as old:
            rows = list(csv.DictReader(old))
        (first,) = [row for row in rows if row["train_nce_loss_epoch"]]
        first |= {"train_n_positives_epoch": "0"}  # solo-learn 1.0.2 logs it, and it never changes
        second = {**first, "epoch": "1", "step": "3", "train_nce_loss_epoch": "1.5"}
        with file.open("w", newline="") as new:
            writer = csv.DictWriter(new, list(first))
            writer.writeheader()
            writer.writerows([*rows, second])
    (simclr,) = [entry for entry in read_comparison(tmp_path).methods if entry.name == "simclr"]
    assert simclr.mean_series("train_n_positives_epoch") == [(1, 0), (2, 0)]
    assert list(own_losses(simclr)) == ["nce_loss"]


def test_a_loss_that_never_changes_is_drawn(folder: Path):
    """A collapsed SimSiam's stays at -1."""
    (simclr,) = [entry for entry in read_comparison(folder).methods if entry.name == "simclr"]
    assert all(len(points) == 1 for points in own_losses(simclr).values())
    assert "nce_loss" in own_losses(simclr)


def test_rates_of_one_method_side_by_side(folder: Path, tmp_path: Path):
    shutil.copytree(folder / "cells", tmp_path / "cells", ignore=shutil.ignore_patterns("*.ckpt"))
    shutil.copytree(tmp_path / "cells" / "simclr", tmp_path / "cells" / "simclr-x0.3")
    shutil.copy(folder / "config.yaml", tmp_path)
    comparison = read_comparison(tmp_path)
    rows = rank(comparison)
    figures = draw_curves(comparison, rows, tmp_path)
    (drawn,) = [figure for figure in figures if figure.name == "ranking-rates"]
    assert drawn.file.is_file()
    labels = re.findall(r"<text[^>]*>(intl|simclr|simclr-x0.3)</text>", drawn.inline)
    assert sorted(labels) == ["intl", "simclr"]  # a line for each method, not for each row
    assert _facts(comparison)["methods"] == "2"
    assert "ranking-rates" not in {file.stem for file in (folder / "report" / "figures").iterdir()}


def test_an_unknown_peak_of_memory_is_no_bar(folder: Path, tmp_path: Path):
    rows = [row for row in rank(read_comparison(folder)) if row.entry.trained]
    figure = cost([replace(rows[0], memory=None), *rows[1:]], tmp_path)
    assert (
        len(re.findall(r"<text[^>]*>\d+\.\d+</text>", figure.inline))
        == len(re.findall(r"<text[^>]*>\d+\.\d+</text>", cost(rows, tmp_path).inline)) - 1
    )


def test_parts_without_material_are_named(folder: Path, tmp_path: Path):
    old = shutil.copytree(
        folder, tmp_path / "old", ignore=shutil.ignore_patterns("*.npz", "*.ckpt", "report")
    )
    assert main(["report", str(old)]) == 0
    page = (old / "report" / "report.html").read_text()
    for reason in ("No run was monitored", "No cell kept its validation features", "No run kept the views"):
        assert reason in page


def test_looks_differ():
    names = ["intl", "intl_ema", *(f"method{i}" for i in range(19))]
    looks = [Styles(names).of(name) for name in names]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == len(names)
    assert len({(look["color"], look["marker"]) for look in looks}) == len(names)


def test_not_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(tmp_path)]) == 2
    assert f"found no comparison in {tmp_path}" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "found no folder" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(page: str, tmp_path: Path, width: int):
    """In a frame of the width asked for: windows have a least width. The page reports on itself."""
    probe = """<script>
    const errors = [];
    addEventListener("error", e => errors.push(e.message || e.target.tagName), true);
    const apart = ".scroll, pre, svg, details";
    const outside = e => !e.closest(apart) && e.getBoundingClientRect().right > innerWidth + 1;
    addEventListener("load", () => parent.postMessage({
      errors,
      inner: innerWidth,
      width: document.documentElement.scrollWidth,
      pictures: document.querySelectorAll("figure svg, figure img").length,
      broken: [...document.images].filter(i => !i.naturalWidth).length,
      out: [...document.querySelectorAll("main *")].filter(outside).map(e => e.tagName),
    }, "*"));
    </script>"""
    (tmp_path / "page.html").write_text(page.replace("<head>", "<head>" + probe, 1))
    (tmp_path / "frame.html").write_text(
        '<body><script>addEventListener("message", e => { const out = document.createElement("pre");'
        'out.id = "found"; out.textContent = JSON.stringify(e.data); document.body.append(out); })</script>'
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{tmp_path / 'frame.html'}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert match, done.stderr[-2000:]
    found = json.loads(match.group(1).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["errors"] == []
    assert found["broken"] == 0
    assert found["inner"] == width
    assert found["width"] <= width
    assert found["out"] == []
    assert found["pictures"] == page.count("<figure>")
    assert "CONSOLE" not in done.stderr
