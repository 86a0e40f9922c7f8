"""Claims about `solo-intl compare`: each cell is a real pre-training and its evaluation, in its own process;
a cell that fails is recorded with its error and the rest go on; the same command does only what failed or is
missing, only evaluates what was killed after its training, unless its weights are gone, and records which
code trained; it speaks while no cell ends; every line a cell prints is headed by its name, and shows its
loss; more methods and seeds may join, and results and report hold them all; other settings under one name
and a second command on one folder are refused; it ends with a report.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from solo_intl.cli import main
from solo_intl.engine.run_folder import write_json
from solo_intl.errors import UserError
from solo_intl.experiments import compare as comparing
from solo_intl.experiments.cell import finished_run
from solo_intl.experiments.folder import open_folder
from solo_intl.experiments.grid import cells_of
from solo_intl.experiments.report.data import read_comparison

TINY = (
    "methods=[simsiam,wmse]",
    "++overrides.data.max_images=64",
    "++overrides.data.num_workers=0",
    "++overrides.max_epochs=1",
    "++overrides.optimizer.batch_size=32",  # less than W-MSE whitens, so that cell fails
    "++overrides.precision=32-true",
    "jobs=2",  # one thread each: two fight on a busy machine
)


def compare(folder: Path, *more: str) -> int:
    return main(["compare", "--config-name", "digits", "name=tiny", f"checkpoint.dir={folder}", *TINY, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    assert compare(place) == 1  # W-MSE's cell failed
    return place


def results(folder: Path) -> dict[str, list[dict]]:
    return json.loads((folder / "compare" / "tiny" / "results.json").read_text())["results"]


def test_every_cell_is_measured_or_says_why_not(folder: Path):
    found = results(folder)
    assert list(found) == ["raw pixels", "untrained", "simsiam", "wmse"]
    for name in ("raw pixels", "untrained", "simsiam"):
        (cell,) = found[name]
        assert cell["seed"] == 0
        assert set(cell["accuracies"]) == {"knn", "linear"}
        assert all(0 <= value <= 100 for value in cell["accuracies"].values())
    assert found["simsiam"][0]["pretraining"]["steps"] == 2
    assert found["simsiam"][0]["layer"].keys() == {"train_top1", "train_loss", "epochs", "batch_size"}
    assert "optimizer.batch_size: found 32, accepted by wmse" in found["wmse"][0]["error"]
    assert found["simsiam"][0]["jobs"] == 2
    run = folder / "compare" / "tiny" / "cells" / "simsiam" / "seed0" / found["simsiam"][0]["run"]
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert found["untrained"][0]["accuracies"] != found["simsiam"][0]["accuracies"]
    cells = folder / "compare" / "tiny" / "cells"
    assert all({"commit", "date"} <= seed.keys() for seeds in found.values() for seed in seeds)
    kept = {file.parent.parent.name for file in cells.glob("*/seed0/features.npz")}
    assert kept == {"raw-pixels", "untrained", "simsiam"}


def test_ends_with_its_report(folder: Path):
    page = (folder / "compare" / "tiny" / "report" / "report.html").read_text()
    for shown in ("simsiam", "wmse, seed 0", "optimizer.batch_size: found 32", "raw pixels"):
        assert shown in page


def test_a_report_even_if_every_method_failed(folder: Path, tmp_path: Path):
    place = Path(shutil.copytree(folder / "compare" / "tiny", tmp_path / "failed"))
    shutil.rmtree(place / "cells" / "simsiam")
    assert main(["report", str(place)]) == 0
    assert "optimizer.batch_size: found 32" in (place / "report" / "report.html").read_text()


def test_goes_on_where_it_stood(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(comparing, "QUIET", 0.5)
    cells = folder / "compare" / "tiny" / "cells"
    (cells / "simsiam" / "seed0" / "result.json").unlink()  # killed after pre-training, while it was judged
    (checkpoint,) = cells.glob("simsiam/seed0/pretrain/*/checkpoints/last.ckpt")
    trained = checkpoint.stat().st_mtime_ns
    before = {file: file.stat().st_mtime_ns for file in cells.rglob("result.json")}
    assert compare(folder, "methods=[simsiam,wmse,barlow_twins]", "report=false") == 1
    after = {file: file.stat().st_mtime_ns for file in cells.rglob("result.json")}
    done_again = {file.parent.parent.name for file in after if after[file] != before.get(file)}
    assert done_again == {"simsiam", "wmse", "barlow_twins"}
    assert [*cells.glob("simsiam/seed0/pretrain/*/checkpoints/last.ckpt")] == [checkpoint]
    origin = json.loads((checkpoint.parents[1] / "environment.json").read_text())
    assert checkpoint.stat().st_mtime_ns == trained
    (simsiam,) = results(folder)["simsiam"]
    assert (simsiam["commit"], simsiam["date"]) == (origin["solo_intl"]["commit"], origin["date"])
    assert simsiam["seconds"] >= simsiam["pretraining"]["seconds"]
    shown = capfd.readouterr().out
    assert "5 cells, 2 finished before; " in shown
    assert "the rate never comes to its height: simsiam, wmse, barlow_twins\n" in shown  # in one epoch
    assert re.search(r"\[2/5\] at work: simsiam, seed 0; wmse, seed 0, (time|about) .*left", shown)
    assert "[3/5] " in shown
    assert "[5/5] " in shown
    (line,) = [line for line in shown.splitlines() if "epoch 1/1" in line]
    assert line.startswith("barlow_twins, seed 0: epoch 1/1  train_barlow_loss ")
    assert "accuracies" in results(folder)["barlow_twins"][0]


def test_parts_of_a_grid_are_one_comparison(folder: Path):
    place = folder / "compare" / "tiny"
    before = results(folder)
    cfg = OmegaConf.load(place / "config.yaml")
    assert isinstance(cfg, DictConfig)
    methods = list(cfg.methods)
    cfg.methods, cfg.seeds = ["vicreg"], [1]
    cells = list(cells_of(cfg, place))
    open_folder(place, cfg, cells)
    comparing._write_results(place, cells)
    assert results(folder) == before
    kept = OmegaConf.load(place / "config.yaml")
    assert sorted(kept.methods) == sorted([*methods, "vicreg"])
    assert kept.seeds == [0, 1]
    assert len(read_comparison(place).missing) == 2 + len(methods) + 2  # seed 1; and vicreg's seed 0
    cfg.methods, cfg.seeds, cfg.rates = ["vicreg"], [0], [0.5]
    open_folder(place, cfg, list(cells_of(cfg, place)))
    kept = OmegaConf.load(place / "config.yaml")
    assert (kept.rates, kept.methods[-1], kept.rows[-1]) == ([0.5, 1], "vicreg", "vicreg-x0.5")
    assert ("vicreg-x0.5", 1) in read_comparison(place).missing
    assert ("simsiam-x0.5", 0) not in read_comparison(place).missing  # nobody asked for it


def test_other_settings_need_another_name(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert compare(folder, "++overrides.max_epochs=2") == 2
    assert "holds a comparison with other overrides" in capsys.readouterr().err


def test_judged_by_another_commit_than_trained_it(folder: Path, tmp_path: Path):
    place = Path(shutil.copytree(folder / "compare" / "tiny", tmp_path / "tiny"))
    (file,) = place.glob("cells/simsiam/seed0/pretrain/*/environment.json")
    trained = json.loads(file.read_text())
    trained["solo_intl"]["commit"] = "0" * 40
    write_json(file, trained)
    (simsiam,) = comparing._write_results(place, [])["simsiam"]
    assert simsiam["commit"] == "0" * 40
    assert simsiam["judged"]["commit"] != "0" * 40
    assert (
        len(next(e for e in read_comparison(place).entries if e.name == "simsiam").runs[0].environments) == 2
    )


@pytest.mark.parametrize("gone", ["checkpoints/last.ckpt", "half of the checkpoint", "metrics.json"])
def test_a_run_that_cannot_be_judged_is_trained_again(folder: Path, tmp_path: Path, gone: str):
    place = Path(shutil.copytree(folder / "compare" / "tiny" / "cells" / "simsiam", tmp_path / "simsiam"))
    cfg = OmegaConf.load(next(place.glob("seed0/pretrain/*/config.yaml")))
    assert isinstance(cfg, DictConfig)
    cfg.checkpoint.dir = str(place / "seed0")
    assert finished_run(cfg) is not None
    if gone.startswith("half"):
        (file,) = place.glob("seed0/pretrain/*/checkpoints/last.ckpt")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert finished_run(cfg) is None
        return
    (file,) = place.glob(f"seed0/pretrain/*/{gone}")
    if file.suffix == ".json":
        file.write_text("")  # the machine stopped while it was written
    else:
        file.unlink()  # to free the disk
    assert finished_run(cfg) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_of_other_settings_does_not_join(folder: Path, tmp_path: Path, seed: int):
    """Not beside a seed that was measured before the method's file was changed, either."""
    place = Path(shutil.copytree(folder / "compare" / "tiny", tmp_path / "compare" / "tiny"))
    cfg = OmegaConf.load(place / "config.yaml")
    assert isinstance(cfg, DictConfig)
    cfg.seeds = [seed]
    cells = list(cells_of(cfg, place))
    open_folder(place, cfg, cells)
    for cell in cells:
        if cell.name == "simsiam":
            cell.cfg.optimizer.lr = 7
    with pytest.raises(UserError, match=r"optimizer\.lr: found other values than .*simsiam/seed0"):
        open_folder(place, cfg, cells)


def test_cells_of_an_older_version_do_not_join(folder: Path, tmp_path: Path):
    place = Path(shutil.copytree(folder / "compare" / "tiny", tmp_path / "compare" / "tiny"))
    cfg = OmegaConf.load(place / "config.yaml")
    assert isinstance(cfg, DictConfig)
    (file,) = place.glob("cells/raw-pixels/seed0/result.json")
    kept = json.loads(file.read_text())
    del kept["layer"]
    file.write_text(json.dumps(kept))
    with pytest.raises(UserError, match=r"raw-pixels/seed0/result.json: of an older version"):
        open_folder(place, cfg, list(cells_of(cfg, place)))
    file.unlink()
    open_folder(place, cfg, list(cells_of(cfg, place)))


def test_what_needs_no_training_is_whoevers(folder: Path, tmp_path: Path):
    """It has the data and the network of some method's file, of which the rest does not matter."""
    place = Path(shutil.copytree(folder / "compare" / "tiny", tmp_path / "compare" / "tiny"))
    cfg = OmegaConf.load(place / "config.yaml")
    assert isinstance(cfg, DictConfig)
    cfg.seeds = [0]
    cells = list(cells_of(cfg, place))
    for cell in cells:
        if not cell.file:
            cell.cfg.optimizer.lr = 7
            cell.cfg.augmentations[1].crop_size = 12
    open_folder(place, cfg, cells)
    cells[1].cfg.backbone.stem_stride = 1
    with pytest.raises(UserError, match=r"backbone\.stem_stride: found other values than .*untrained/seed0"):
        open_folder(place, cfg, cells)


def test_one_command_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]):
    hold = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True)\n    input()"
    command = [sys.executable, "-c", hold, str(folder / "compare" / "tiny" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert compare(folder) == 2
        other.communicate(b"\n")
    assert "another comparison is writing to" in capsys.readouterr().err
