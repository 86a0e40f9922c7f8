"""Claims about auto_resume: it goes on with the newest unfinished run of the same configuration whose
checkpoint can be read; that one was cut short, and is passed over, is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from solo_intl.engine.resume import resume_checkpoint


def unfinished(root: Path, name: str, cfg: DictConfig, age: float) -> Path:
    file = root / "pretrain" / name / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    OmegaConf.save(cfg, file.parents[1] / "config.yaml")
    torch.save({"state_dict": {"backbone.bias": torch.zeros(1000)}}, file)
    os.utime(file, times=(file.stat().st_mtime - age,) * 2)
    return file


def cut_short(file: Path) -> None:
    time = file.stat().st_mtime
    file.write_bytes(file.read_bytes()[:-500])
    os.utime(file, times=(time, time))


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cfg = OmegaConf.create(
        {"seed": 1, "auto_resume": {"enabled": True}, "checkpoint": {"dir": str(tmp_path)}}
    )
    older, newer = (unfinished(tmp_path, name, cfg, age) for name, age in (("older", 60), ("newer", 0)))
    assert resume_checkpoint(cfg, "pretrain") == newer
    cut_short(newer)
    assert resume_checkpoint(cfg, "pretrain") == older
    assert f"solo-intl pretrain: passes over {newer}" in capsys.readouterr().out
    (newer.parents[1] / "environment.json").write_text(json.dumps({"resumed_from": str(older)}))
    assert resume_checkpoint(cfg, "pretrain") == older, "though another run had gone on from it"
    cut_short(older)
    assert resume_checkpoint(cfg, "pretrain") is None
