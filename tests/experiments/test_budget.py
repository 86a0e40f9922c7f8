"""Claims about a comparison's budget and the shipped comparisons: the same epochs go to every cell; minutes
become as many epochs as fit, kept for a cell that is resumed, and end a run that is slower with its
checkpoint written; two budgets, one without room for an epoch, and nonsense are refused; every file in
scripts/compare names a folder, methods that have a file there, and known keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.config.compose import SCRIPTS, config_folder
from solo_intl.config.schema import SCHEMAS, check_keys
from solo_intl.engine.pretrain import pretrain
from solo_intl.errors import UserError
from solo_intl.experiments.budget import check_budget, within_minutes
from solo_intl.experiments.cell import read_config
from solo_intl.experiments.grid import cells_of


def comparison(**budget: object) -> DictConfig:
    settings = {"pretrain": "pretrain/digits", "methods": ["intl", "simclr"], "seeds": [0], "budget": budget}
    return OmegaConf.create(settings)


@pytest.fixture
def cell(tmp_path: Path) -> DictConfig:
    tiny = [
        f"checkpoint.dir={tmp_path}",
        "data.num_workers=0",
        "++data.max_images=64",
        "++backbone.stem_stride=2",
    ]
    tiny += ["optimizer.batch_size=8", "++limit_val_batches=0", "++enable_progress_bar=false"]
    return read_config(config_folder("pretrain/digits"), "intl", [*tiny, "method_kwargs.beta=0.05"])


def test_the_same_epochs_for_every_cell(tmp_path: Path):
    assert [cell.cfg.max_epochs for cell in cells_of(comparison(max_epochs=3), tmp_path)] == [3] * 4
    assert {cell.minutes for cell in cells_of(comparison(minutes=2.5), tmp_path)} == {2.5}


def test_mistakes():
    with pytest.raises(UserError, match="budget: found max_epochs and minutes, accepted: one of them"):
        check_budget(comparison(max_epochs=3, minutes=5))
    for wrong in ({"max_epochs": 0}, {"max_epochs": 1.5}, {"minutes": -1}, {"minutes": "long"}):
        with pytest.raises(UserError, match=f"budget.{next(iter(wrong))}: found"):
            check_budget(comparison(**wrong))
    assert check_budget(comparison()) == check_budget(OmegaConf.create({})) == {}


def test_minutes_become_epochs(cell: DictConfig, tmp_path: Path):
    with pytest.raises(UserError, match=r"budget\.minutes: found 0.0001, but an epoch of intl takes"):
        within_minutes(cell, 0.0001, tmp_path / "short")
    assert not (tmp_path / "short").exists()
    first = within_minutes(cell, 60, tmp_path / "cell")
    measured = json.loads((tmp_path / "cell" / "budget.json").read_text())
    assert first.max_epochs == measured["max_epochs"] > 10
    assert first.max_epochs == pytest.approx(3600 / measured["seconds_per_epoch"], rel=0.01)  # rounded there
    assert within_minutes(cell, 60, tmp_path / "cell") == first  # however fast the machine is now


def test_time_ends_a_run_that_is_slower(cell: DictConfig, tmp_path: Path):
    cell.checkpoint.frequency = 1000
    (tmp_path / "budget.json").write_text('{"max_epochs": 1000}')
    run, final = pretrain(within_minutes(cell, 0.05, tmp_path))
    assert 3 <= final["seconds"] < 60
    assert final["epochs"] < 1000
    assert (run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("file", sorted(SCRIPTS.glob("compare/*.yaml")), ids=lambda file: file.stem)
def test_shipped_comparisons(file: Path, tmp_path: Path):
    cfg = read_config(file.parent, file.stem)
    check_keys(host.plain(cfg), SCHEMAS["compare"])
    cells = list(cells_of(cfg, tmp_path))
    methods = {"fashion-mnist-forms": 4, "augment": 2}.get(file.stem, 9)
    assert len({cell.name for cell in cells}) >= 2 + methods
    assert len({cell.folder for cell in cells}) == len(cells)


@pytest.mark.parametrize("folder", ["digits", "fashion-mnist"])
def test_augmentation_is_all_that_its_comparison_changes(folder: str, tmp_path: Path):
    cfg = read_config(SCRIPTS / "compare", "augment", [f"pretrain=pretrain/{folder}"])
    cells = {(cell.name, cell.cfg.seed): host.plain(cell.cfg) for cell in cells_of(cfg, tmp_path)}
    for seed in (0, 1, 2):
        stock, batched = (cells[name, seed] for name in ("intl", "intl_batched"))
        assert batched["data"].pop("augment") == "batched"
        assert "augment" not in stock["data"]  # the default
        for own in (stock, batched):
            del own["name"], own["checkpoint"]["dir"]
        assert stock == batched
