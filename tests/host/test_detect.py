"""Claims: HEAD is preferred, 1.0.2 recognised, anything else refused with the install command; SOLO_EXPECT is
obeyed; without solo-learn the losses import and everything else says how to install it; no stand-in stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from solo_intl.detect import HEAD, INSTALL_LEGACY, LEGACY
from solo_intl.host import HOST


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "SOLO_EXPECT"} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


def fake_solo(root: Path, generation: str) -> Path:
    files = {
        HEAD: ("backbones/__init__.py", "args/pretrain.py"),
        LEGACY: ("utils/backbones.py", "methods/base.py"),
        "other": ("models.py",),
    }[generation]
    for file in files:
        path = root / "solo" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (root / "solo" / "__init__.py").write_text("")
    return root


DETECT = Path(__file__).resolve().parents[2] / "solo_intl" / "detect.py"
# by path: the package's own __init__ would go on and import what is only pretended here
DETECT_ONLY = (
    "import importlib.util, sys\n"
    f"spec = importlib.util.spec_from_file_location('detect', {str(DETECT)!r})\n"
    "detect = importlib.util.module_from_spec(spec); sys.modules['detect'] = detect\n"
    "spec.loader.exec_module(detect)\n"
    "print(detect.find_host())\n"
)


def test_head_wins_over_a_1_0_2_that_comes_first(tmp_path: Path):
    first = fake_solo(tmp_path / "old", LEGACY)
    second = fake_solo(tmp_path / "new", HEAD)
    done = python(DETECT_ONLY, PYTHONPATH=f"{first}{os.pathsep}{second}")
    assert f"(head) at {second}" in done.stdout, done.stderr


@pytest.mark.parametrize("wanted", [HEAD, LEGACY])
def test_solo_expect_refuses_the_other(wanted: str):
    done = python(DETECT_ONLY, SOLO_EXPECT=wanted)
    if wanted == HOST.generation:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert f"SOLO_EXPECT={wanted}: found solo-learn" in done.stderr


def test_solo_expect_with_nonsense_is_named():
    assert "SOLO_EXPECT: found '2.0', accepted: head, 1.0.2" in python(DETECT_ONLY, SOLO_EXPECT="2.0").stderr


def test_without_solo_learn_losses_work_and_the_rest_says_how_to_install(tmp_path: Path):
    code = (
        "import sys, importlib.util, pathlib\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'solo' else real(name, *a)\n"
        "is_dir = pathlib.Path.is_dir\n"
        "pathlib.Path.is_dir = lambda self: False if self.name == 'solo' else is_dir(self)\n"
        "import torch\n"
        "from solo_intl.losses import intl_loss_func\n"
        "assert intl_loss_func([torch.randn(16, 32)] * 2).loss.isfinite()\n"
        "import solo_intl.cli\n"
        "sys.exit(solo_intl.cli.main(sys.argv[1:] or ['pretrain']))\n"
    )
    done = python(code)
    assert done.returncode == 2, done.stderr
    assert INSTALL_LEGACY in done.stderr
    assert len(done.stderr.splitlines()) == 1
    doctor = subprocess.run(
        [sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False
    )
    assert doctor.returncode == 0, doctor.stderr
    assert "MISSING" in doctor.stdout


def test_no_stand_in_stays_behind():
    done = python(
        "import solo_intl.host, sys\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('pl_bolts', 'pytorch_lightning')])"
    )
    assert done.stdout.strip() == "[]", done.stderr
