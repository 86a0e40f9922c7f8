"""Claims: imports between the rooms of the house point the way docs/house.md says; no room reaches behind
the face of `host`, and `host` alone imports solo-learn; the wheel holds every module, the Hydra plugin and
every YAML file, so that an installed user can name a configuration without a checkout; two workers of the
suite share two cores, a thread each."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "solo_intl"
# bottom first: a room imports its own and those of lower ranks
RANKS = {
    **{"_version": 0, "errors": 0, "losses": 0, "detect": 1, "host": 2},
    **{"data": 3, "methods": 3, "register": 4, "evaluation": 5, "config": 5, "engine": 6},
    **{"commands": 7, "experiments": 8, "cli": 9, "__init__": 9},
}


def imported(file: Path) -> Iterator[str]:
    """Full names of the modules that ``file`` imports, inside functions too."""
    package = ["solo_intl", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" if module == "solo_intl" else module for alias in node.names)


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if "scripts" not in file.parts]


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows_point_one_way(file: Path) -> None:
    own = room(file)
    for name in imported(file):
        first, *rest = name.split(".")
        assert first != "solo" or own == "host", f"{name}: host alone imports solo-learn"
        if first != "solo_intl" or not rest or rest[0] == own:
            continue
        assert RANKS[rest[0]] < RANKS[own], f"{own} imports {name}"
        assert rest[0] != "host" or len(rest) == 1, f"{name}: host has one face, solo_intl.host"


def test_every_room_has_its_rank() -> None:
    assert {room(file) for file in FILES} == set(RANKS)


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("solo_intl", "scripts", "hydra_plugins"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=hidden)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--no-index", "-w", tmp_path, source], check=True, timeout=300)
    (wheel,) = tmp_path.glob("solo_intl-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    yaml = {f"solo_intl/{path.relative_to(ROOT)}" for path in (ROOT / "scripts").rglob("*.yaml")}
    templates = (PACKAGE / "experiments" / "report" / "templates").iterdir()
    code = {str(path.relative_to(ROOT)) for path in [*FILES, *(ROOT / "hydra_plugins").glob("*.py")]}
    assert len(yaml) > 100
    expected = {*yaml, *code, *(str(path.relative_to(ROOT)) for path in templates), "solo_intl/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_a_worker_of_the_suite_has_one_thread():
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = "import conftest, torch; print(torch.get_num_threads())"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "PYTEST_XDIST_WORKER": "gw0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "1\n"
