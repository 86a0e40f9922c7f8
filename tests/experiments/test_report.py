"""Claims about the report of a comparison, on the folder of real (tiny) cells: one HTML file that names no
other address, PNG figures and Markdown beside it; every part is drawn that the cells have material for, and
a part without material says so; the ranking is that of the cells, and says whose seeds are missing; curves
are of training where validation was rare; a failed cell is shown with its error; in a real browser it logs
no error and is never wider than the window."""

from __future__ import annotations

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
from solo_intl.experiments.folder import open_folder
from solo_intl.experiments.report import spectra
from solo_intl.experiments.report.curves import online
from solo_intl.experiments.report.data import read_comparison
from solo_intl.experiments.report.page import _environments, _table
from solo_intl.experiments.report.ranking import rank
from solo_intl.experiments.report.style import Styles

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TITLES = [title for title, _, _ in spectra._MEASURES.values()]
SETTINGS = {
    "name": "tiny",
    "note": "Made to be read.",
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
            shared = {"seconds": 1.0, "jobs": 1, "threads": 2, "settings": cell.settings}
            shared |= {"environment": environment()}
            write_json(cell.folder / "result.json", {**result, **shared})
    broken = place / "cells" / "byol" / "seed0"
    broken.mkdir(parents=True)
    write_json(broken / "result.json", {"error": "ValueError: <b>made</b> to fail", "environment": {}})
    open_folder(place, cfg, list(grid.cells_of(cfg, place)))
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
    assert re.search(
        r"<dt>linear layer</dt><dd>500 epochs, batch 32; [\d.]+ to [\d.]+ % of its training", page
    )
    assert '<p class="note">Made to be read.</p>' in page
    assert "Made to be read." in (folder / "report" / "report.md").read_text()
    assert "Below the raw pixels are" in page
    comparison = read_comparison(folder)
    lines = {line["name"]: line for line in _table(comparison, rank(comparison))}
    assert sorted(lines[name]["place"] for name in ("intl", "simclr")) == ["1", "2"]
    assert lines["raw pixels"]["place"] == lines["untrained"]["place"] == ""
    assert (lines["intl"]["seeds"], lines["untrained"]["seeds"]) == ("2", "1 of 2")
    rows = [replace(row, p=1e-5, adjusted=0.01) for row in rank(comparison)]
    assert {(line["p"], line["adjusted"]) for line in _table(comparison, rows)} == {("< 0.001", "0.010")}
    assert "Environment of every cell" in page
    comparison.runs[0].environments[0]["python"] = "0.1"
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


def test_parts_without_material_are_named(folder: Path, tmp_path: Path):
    old = shutil.copytree(
        folder, tmp_path / "old", ignore=shutil.ignore_patterns("*.npz", "*.ckpt", "report")
    )
    assert main(["report", str(old)]) == 0
    page = (old / "report" / "report.html").read_text()
    for reason in ("No run was monitored", "No cell kept its validation features", "No run kept the views"):
        assert reason in page


def test_run_folders_that_were_removed(folder: Path, tmp_path: Path):
    """To free the disk, say: what result.json keeps is still shown."""
    old = shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("pretrain", "report"))
    assert main(["report", str(old)]) == 0
    page = (old / "report" / "report.html").read_text()
    assert "proj_output_dim: 1024" in page
    assert "<dt>batch</dt><dd>32</dd>" in page
    rows = {row.entry.name: row for row in rank(read_comparison(old))}
    assert (
        rows["intl"].linear == {row.entry.name: row for row in rank(read_comparison(folder))}["intl"].linear
    )
    assert (rows["intl"].seconds_per_epoch or (0,))[0] > 0
    assert "or the run folders were removed" in page
    sections = re.findall(r'<section id="(.*?)">(.*?)</section>', page, flags=re.DOTALL)
    assert len(sections) == 9
    for anchor, content in sections:
        assert "<figure>" in content or '<p class="note">' in content, anchor
    assert re.search(
        r'id="accuracy">\s*<h2>Accuracy</h2>\s*<p class="note">Left out. No run has a metrics', page
    )


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
