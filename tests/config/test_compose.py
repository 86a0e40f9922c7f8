"""Claims: the command line takes solo-learn's flags and overrides; every mistake is one line that names the
key, what was found and the nearest accepted one; shipped configs are found without a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from solo_intl.config import SCRIPTS, run_with_hydra
from solo_intl.config.compose import config_folder, spell_override
from solo_intl.errors import UserError


def compose(*arguments: str, command: str = "pretrain") -> DictConfig:
    return run_with_hydra(command, lambda cfg: cfg, list(arguments))


def test_default_is_digits_and_says_so(capsys):
    cfg = compose()
    assert (cfg.method, cfg.data.dataset) == ("intl", "digits")
    assert "scripts/pretrain/digits/intl.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    ["scripts/pretrain/cifar", "scripts/pretrain/cifar/", "pretrain/cifar", str(SCRIPTS / "pretrain/cifar")],
)
@pytest.mark.parametrize("name", ["intl", "intl.yaml"])
def test_config_path_as_in_solo_learn_or_shipped(path: str, name: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no checkout in sight
    cfg = compose("--config-path", path, f"--config-name={name}")
    assert cfg.data.dataset == "cifar10"


def test_a_folder_in_the_working_directory_wins(tmp_path: Path, monkeypatch):
    own = tmp_path / "pretrain" / "cifar"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("method: byol\n")
    monkeypatch.chdir(tmp_path)
    assert compose("-cp", "pretrain/cifar", "-cn", "mine").method == "byol"


def test_without_a_config_path_it_is_the_shipped_one(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "linear").mkdir()  # someone's results, say
    monkeypatch.chdir(tmp_path)
    assert compose(command="linear").optimizer.name
    assert "scripts/linear/default.yaml" in capsys.readouterr().err


def test_overrides_with_and_without_hydras_plus():
    cfg = compose(
        "optimizer.lr=0.7",
        "scheduler.min_lr=0",
        "++seed=3",
        "+limit_val_batches=1",
        "max_epochs=2",
        "method_kwargs.beta=0.5",
    )
    assert (cfg.optimizer.lr, cfg.scheduler.min_lr, cfg.seed, cfg.limit_val_batches) == (0.7, 0, 3, 1)
    assert (cfg.max_epochs, cfg.method_kwargs.beta) == (2, 0.5)


def test_argv_is_restored_inside_the_task_for_lightnings_children(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["solo-intl", "pretrain", "max_epochs=2"])
    seen = run_with_hydra("pretrain", lambda cfg: list(sys.argv), ["max_epochs=2"])
    assert seen == ["solo-intl", "pretrain", "max_epochs=2"]
    assert sys.argv == ["solo-intl", "pretrain", "max_epochs=2"]


def test_nothing_is_written_where_it_runs(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.yaml").write_text("method: intl\n")  # without the lines that turn Hydra's folders off
    compose("--config-path", ".", "--config-name", "bare")
    assert [p.name for p in tmp_path.iterdir()] == ["bare.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lrr=1"], r"optimizer.lrr: unknown key, nearest: lr"),
        (["optimiser.lr=1"], r"optimiser: unknown key, nearest: optimizer"),
        (["max_epoch=1"], r"max_epoch: unknown key, nearest: max_epochs"),
        (["--config-path", "nowhere"], r"--config-path: no folder nowhere here, nor .*scripts/nowhere"),
        (
            ["--config-path", "pretrain/cifar", "--config-name", "byoll"],
            r"--config-name: no byoll.yaml in .*cifar, accepted: .*intl",
        ),
        (["--config-name"], r"--config-name: found nothing after it"),
        (["augmentations=nothing"], r"configuration: .*nothing"),
        (["optimizer.lr=[1"], r"configuration: "),
        (["nonsense"], r"configuration: "),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str):
    with pytest.raises(UserError, match=message) as caught:
        compose(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "argument", "message"),
    [
        (
            "compare",
            "--dry-run",
            "--dry-run: no flag of solo-intl compare, accepted: --config-path, --config-name",
        ),
        ("pretrain", "--to=timm", "--to: no flag of solo-intl pretrain, accepted: --dry-run, --config-path"),
        ("pretrain", "--dry-rum", "--dry-rum: unknown key, nearest: --dry-run"),
        ("export", "--too", "--too: unknown key, nearest: --to"),
    ],
)
def test_a_flag_of_another_command_is_answered_with_this_ones(command: str, argument: str, message: str):
    with pytest.raises(UserError) as caught:
        compose(argument, command=command)
    assert str(caught.value).startswith(message)
    if "accepted" in message:
        assert argument.partition("=")[0] not in str(caught.value).partition("accepted")[2].split(", ")


def test_a_value_with_an_equals_sign_needs_no_quotes():
    cfg = compose("pretrained_feature_extractor=runs/byol-ep=3.ckpt", command="knn")
    assert cfg.pretrained_feature_extractor == "runs/byol-ep=3.ckpt"
    assert spell_override("+name=a=b", "pretrain") == "+name='a=b'"


def test_groups_stay_hydras():
    assert spell_override("augmentations=asymmetric", "pretrain") == "augmentations=asymmetric"
    assert spell_override("hydra.run.dir=x", "pretrain") == "hydra.run.dir=x"
    assert spell_override("~wandb", "pretrain") == "~wandb"
    assert spell_override("backbone.kwargs.img_size=32", "pretrain") == "++backbone.kwargs.img_size=32"


def test_every_shipped_folder_is_found():
    for folder in (p for p in SCRIPTS.rglob("*") if p.is_dir() and list(p.glob("*.yaml"))):
        assert config_folder(str(folder.relative_to(SCRIPTS))) == folder.resolve()
