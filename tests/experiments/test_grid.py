"""Claims about the grid of a comparison: a cell is a method at a seed and a rate, in a folder of its own;
rates are multiples of each method's own, alike for all; a result that was torn is none; what is wrong in
the configuration is said in one line before a folder is made, as is what the comparison itself sets.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from solo_intl.cli import main
from solo_intl.engine.run_folder import write_json
from solo_intl.experiments.compare import _warms_up_to_the_end
from solo_intl.experiments.grid import RAW, UNTRAINED, cells_of


def test_an_empty_result_is_none(tmp_path: Path):
    grid = OmegaConf.create({"pretrain": "pretrain/digits", "methods": ["byol"], "seeds": [0]})
    cell = next(cells_of(grid, tmp_path))
    cell.folder.mkdir(parents=True)
    write_json(cell.folder / "result.json", {"accuracies": {"knn": 1.0}})
    assert cell.finished
    (cell.folder / "result.json").write_text("")
    assert not cell.finished


def test_each_cell_has_a_folder_of_its_own(tmp_path: Path):
    cfg = OmegaConf.create({"pretrain": "pretrain/digits", "methods": ["byol", "byol"], "seeds": [1, 0, 1]})
    folders = [cell.folder for cell in cells_of(cfg, tmp_path)]
    assert len(folders) == len(set(folders)) == 2 * 3


def test_rates_are_multiples_of_the_methods_own(tmp_path: Path):
    grid = {"pretrain": "pretrain/digits", "methods": ["byol", "intl"], "seeds": [0], "rates": [0.5, 1, 1.0]}
    cells = [cell for cell in cells_of(OmegaConf.create(grid), tmp_path) if cell.name not in (RAW, UNTRAINED)]
    assert [(cell.name, cell.cfg.method, cell.cfg.optimizer.lr) for cell in cells] == [
        ("byol-x0.5", "byol", 1e-3),
        ("byol", "byol", 2e-3),
        ("intl-x0.5", "intl", 0.5),
        ("intl", "intl", 1.0),
    ]
    assert [cell.folder.parent.name for cell in cells] == [cell.name for cell in cells]
    assert [cell.cfg.name for cell in cells] == [f"{cell.name}-seed0" for cell in cells]
    assert {cell.file for cell in cells} == {"byol", "intl"}


def test_a_schedule_keeps_its_shape_at_another_rate(tmp_path: Path):
    grid = {"pretrain": "pretrain/cifar", "methods": ["deepclusterv2"], "seeds": [0], "rates": [1, 0.5]}
    start = {"overrides": {"scheduler": {"warmup_start_lr": 3e-5}}}
    *_, own, half = cells_of(OmegaConf.create(grid | start), tmp_path)
    for key in ("optimizer.lr", "scheduler.min_lr", "scheduler.warmup_start_lr"):
        assert OmegaConf.select(half.cfg, key) == 0.5 * OmegaConf.select(own.cfg, key) > 0
    assert half.cfg.optimizer.classifier_lr == own.cfg.optimizer.classifier_lr


def test_any_one_device(tmp_path: Path):
    grid = {"pretrain": "pretrain/digits", "methods": ["byol"], "seeds": [0]}
    cfg = OmegaConf.create({**grid, "overrides": {"devices": [1]}})  # the second GPU
    assert len(list(cells_of(cfg, tmp_path))) == 3


def test_raw_pixels_only_where_images_have_one_size(tmp_path: Path):
    cfg = OmegaConf.create({"pretrain": "pretrain/imagenet-100", "methods": ["byol"], "seeds": [0]})
    assert [cell.name for cell in cells_of(cfg, tmp_path)] == ["untrained", "byol"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("seeds=3", "seeds: found 3, accepted: a list"),
        ("seeds=[a]", "seeds: found ['a'], accepted: a list"),
        ("++rates=[0]", "rates: found [0], accepted: a list of positive numbers"),
        ("++rates=3", "rates: found 3, accepted: a list"),
        ("methods=simsiam", "methods: found 'simsiam', accepted: all, or a list"),
        ("jobs=true", "jobs: found True, accepted: a positive integer"),
        ("name=../../x", "name: found '../../x', accepted: a folder's name"),
        ("name=''", "name: found '', accepted: a folder's name"),
        ("name=null", "name: found None, accepted: a folder's name"),
        ("name=..", "name: found '..', accepted: a folder's name"),
        ("pretrain=3", "pretrain: found 3, accepted: a folder"),
        ("checkpoint=null", "checkpoint: found None, accepted: a section with dir"),
        ("checkpoint.dir=null", "checkpoint.dir: found None, accepted: a folder"),
        ("report=maybe", "report: found 'maybe', accepted: true or false"),
        ("seeds=[4294967296]", "seeds: found [4294967296], accepted: a list of whole numbers below 2^32"),
        ("++overrides.dry_run=true", "overrides.dry_run: found True, accepted by compare: nothing"),
        ("methods=[simsiam,byol-x3]", "methods: found 'byol-x3', accepted by compare: a file whose name"),
        ("methods=[untrained]", "methods: found 'untrained', accepted by compare: a file whose name"),
        ("checkpoint.dir=/dev/null/here", "checkpoint.dir: cannot write /dev/null/here"),
        ("++overrides=3", "overrides: found 3, accepted: a section"),
        ("++overrides.scheduler=null", "overrides.scheduler: found None, accepted: a section with name"),
        ("++overrides.checkpoint=null", "overrides.checkpoint: found None, accepted: a section with"),
        ("++overrides.checkpoint.enabled=false", "overrides.checkpoint.enabled: found False"),
        ("++overrides.seed=3", "overrides.seed: found 3, accepted by compare: seeds"),
        (
            "++budget.max_epochs=1 ++overrides.max_epochs=1",
            "overrides.max_epochs: found 1, accepted by compare: budget alone",
        ),
        ("++overrides.resume_from_checkpoint=x", "overrides.resume_from_checkpoint: found x"),
        ("++overrides.devices=2", "overrides.devices: found 2, accepted by compare: 1"),
        ("++overrides.optimizer.lrr=1", "optimizer.lrr: unknown key"),
        ("++overrides.data.dataset=custom", "data.train_path: datasets doesn't exist"),
    ],
)
def test_mistakes_are_found_before_any_cell(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["compare", f"checkpoint.dir={tmp_path}", "methods=[simsiam]", *arguments.split()]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "compare").exists()


def test_a_name_with_a_space_would_have_anothers_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", f"checkpoint.dir={tmp_path}", "methods=['raw pixels']"]) == 2
    said = "methods: found 'raw pixels', accepted by compare: a file whose name has no space"
    assert said in capsys.readouterr().err


def test_unknown_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", f"checkpoint.dir={tmp_path}", "methods=[simsian]"]) == 2
    assert "methods: found 'simsian'" in capsys.readouterr().err
    assert not (tmp_path / "compare").exists()


def test_a_gpu_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu = "++overrides.accelerator=gpu"
    assert main(["compare", f"checkpoint.dir={tmp_path}", "methods=[simsiam]", gpu]) == 2
    assert "accelerator: found 'gpu', but this machine has no GPU" in capsys.readouterr().err
    assert not (tmp_path / "compare").exists()


def test_whose_warm_up_takes_every_epoch():
    cfg = OmegaConf.create({"pretrain": "pretrain/cifar", "methods": ["byol", "intl"], "seeds": [0]})
    for epochs, late in ((10, ["byol"]), (11, []), (2, ["byol", "intl"])):
        cells = cells_of(OmegaConf.merge(cfg, {"budget": {"max_epochs": epochs}}), Path("made"))
        assert [cell.name for cell in cells if _warms_up_to_the_end(cell)] == late
    none = {"budget": {"max_epochs": 1}, "overrides": {"scheduler": {"name": "none"}}}
    assert not any(_warms_up_to_the_end(cell) for cell in cells_of(OmegaConf.merge(cfg, none), Path("made")))
