"""Claims: the record of a run repeats its command without the folder the program stands in; no committed
result file names a folder of the machine that wrote it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from solo_intl.engine.run_folder import environment

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks").rglob("*.json"))


def test_the_command_is_recorded_without_the_programs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/env/bin/solo-intl", "pretrain", "data.train_path=images"])
    assert environment()["command"] == ["solo-intl", "pretrain", "data.train_path=images"]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_committed_results_name_no_folder_of_their_machine(file: Path) -> None:
    assert re.findall(r'"(?:[a-z_.]+=)?/[^"]*"', file.read_text()) == []
