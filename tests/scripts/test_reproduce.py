"""Claims: every configuration that docs/reproduce.md names is shipped; each of the 14 cells of Table D has
its row, with the batch of its file, the linear protocol that goes with it, the published figure, and hours
that follow from Table G; the commands' keys are accepted; what it says was run stands in benchmarks/."""

from __future__ import annotations

import json
import re
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from solo_intl.config.compose import config_folder, config_name, spell_override, split_flags, take_flag

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text()
ROWS = [
    [cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
]

# row -> (file, minutes and seconds an epoch, {epochs: top-1})
PUBLISHED: dict[str, tuple[str, tuple[int, int], dict[int, float]]] = {
    "plain": ("intl", (29, 11), {100: 69.5, 200: 71.1, 400: 72.4, 800: 73.1}),
    "EMA": ("intl_ema", (24, 46), {100: 69.2, 200: 71.5, 800: 74.3}),
    "multi-crop": ("intl_multicrop", (57, 33), {100: 72.4, 200: 74.3, 400: 74.9}),
    "both": ("intl_ema_multicrop", (50, 52), {100: 73.5, 200: 75.2, 400: 76.1, 800: 76.6}),
}
CELLS = [(row, epochs) for row, (*_, figures) in PUBLISHED.items() for epochs in figures]


def hours(row: str, epochs: int) -> float:
    minutes, seconds = PUBLISHED[row][1]
    return epochs * (minutes + seconds / 60) / 60


def commands() -> list[list[str]]:
    """Each `solo-intl` command of the page, with the variables of its block filled in."""
    found = []
    for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL):
        text = block.replace("\\\n", " ").replace("$TWO_GPUS", "devices=[0,1] strategy=ddp")
        values = {"share": "1percent", "dataset": "cifar100", "FORM": "intl_ema_multicrop_"}
        values |= dict(re.findall(r"\b(CELL|BATCH|EVAL)=(\S+)", text))
        for name, value in values.items():
            text = text.replace(f"${name}", value)
        found += [shlex.split(line, comments=True) for line in text.splitlines() if "solo-intl " in line]
    return found


@pytest.mark.parametrize(("row", "epochs"), CELLS)
def test_cell(composed: Callable[..., DictConfig], row: str, epochs: int) -> None:
    (found,) = [cells for cells in ROWS if cells[0] == f"{row}, {epochs} epochs"]
    file, _, figures = PUBLISHED[row]
    cfg = composed(f"pretrain/imagenet/{file}_{epochs}ep.yaml")
    evaluation = "intl_ema_multicrop" if row == "both" else "intl"
    per_gpu = cfg.optimizer.batch_size // 2
    assert found[1:] == [
        f"{file}_{epochs}ep",
        str(per_gpu),
        evaluation,
        str(figures[epochs]),
        str(round(hours(row, epochs))),
    ]


def test_all_cells_and_their_sum() -> None:
    assert len([cells for cells in ROWS if re.search(r", \d00 epochs$", cells[0])]) == len(CELLS) == 14
    total = sum(hours(*cell) for cell in CELLS)
    assert f"{total:,.0f} hours, {total / 24:.0f} days" in PAGE


@pytest.mark.parametrize("row", PUBLISHED)
def test_hours_are_table_gs(row: str) -> None:
    (found,) = [cells for cells in ROWS if cells[0] == row]
    minutes, seconds = PUBLISHED[row][1]
    assert found[1] == f"{minutes}:{seconds} min"
    assert found[3] == f"100 x {minutes + seconds / 60:.2f} / 60 = {hours(row, 100):.1f} h"


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_name_shipped_files_and_known_keys(command: list[str]) -> None:
    name, task, *rest = command
    assert name == "solo-intl"
    path, rest = take_flag(rest, "--config-path")
    config, rest = take_flag(rest, "--config-name")
    _, rest = take_flag(rest, "--to")
    if path is not None:
        assert (ROOT / path).is_dir()
        assert config_name(config_folder(path), str(config)) == config
    flags, overrides = split_flags(rest)
    assert flags == []
    for override in overrides:
        assert "$" not in override
        spell_override(override, task)


def test_commands_were_found() -> None:
    tasks = [command[1] for command in commands()]
    assert tasks == [
        "pretrain",
        "linear",
        "finetune",
        "pretrain",
        "linear",
        "knn",
        "pretrain",
        "linear",
        "knn",
        "export",
    ]


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`((?:scripts|benchmarks|downstream)/[\w./-]+\.(?:yaml|py|json))`", PAGE))
    pending = {"benchmarks/finetune-fashion-mnist.json"}  # what a command on the page writes
    assert len(named) >= 8
    assert [file for file in named - pending if not (ROOT / file).is_file()] == []


def test_what_was_run_is_recorded() -> None:
    rows = [cells for cells in ROWS if cells[-1].startswith("benchmarks/demo-")]
    assert len(rows) >= 2
    for _, seeds, knn, linear, file in rows:
        results = json.loads((ROOT / file).read_text())["results"]["INTL ResNet-18"]
        assert len(results) == int(seeds)
        for key, shown in (("knn", knn), ("linear", linear)):
            assert f"{statistics.mean(result[key] for result in results):.2f}" == shown
