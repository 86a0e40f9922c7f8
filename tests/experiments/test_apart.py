"""Claims about processes of their own: the exit code comes back, a signal's too; a process ends when the one
that started it is killed, whatever it was doing; each sees a GPU of its own where there are several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from solo_intl.experiments.apart import own_gpu, run_apart

PARENT = """
import multiprocessing, threading, time
from solo_intl.experiments.apart import run_apart

if __name__ == "__main__":
    threading.Thread(target=run_apart, args=(time.sleep, 600)).start()
    while not multiprocessing.active_children():
        time.sleep(0.1)
    print(multiprocessing.active_children()[0].pid, flush=True)
"""


def test_exit_code():
    assert run_apart(sys.exit, 3) == 3
    assert run_apart(signal.raise_signal, signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("count", "given", "seen"),
    [
        (0, None, [None] * 3),
        (1, None, [None] * 3),
        (2, None, ["0", "1", "0"]),
        (2, "5,3", ["5", "3", "5"]),
        (3, None, ["0", "1", "2"]),
    ],
)
def test_a_gpu_of_its_own(
    count: int, given: str | None, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)  # no machine of the suite has one
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert [own_gpu(place).get("CUDA_VISIBLE_DEVICES") for place in range(3)] == seen


def test_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("THERE_BEFORE", "old")
    monkeypatch.delenv("NOT_BEFORE", raising=False)
    command = f"printenv THERE_BEFORE NOT_BEFORE > {tmp_path / 'seen'}"
    assert run_apart(os.system, command, environment={"THERE_BEFORE": "new", "NOT_BEFORE": "1"}) == 0
    assert (tmp_path / "seen").read_text().split() == ["new", "1"]
    assert os.environ["THERE_BEFORE"] == "old"
    assert "NOT_BEFORE" not in os.environ


def test_ends_with_its_parent(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=here, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(1)
        assert _runs(child)
        parent.kill()
    until = time.monotonic() + 60
    while _runs(child):
        assert time.monotonic() < until
        time.sleep(0.1)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, and nobody has asked for its exit code
