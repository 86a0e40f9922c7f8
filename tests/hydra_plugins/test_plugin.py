"""Claims about the Hydra plugin: a program without solo-learn gets nothing from it, neither imports nor
output nor a changed search path; where `solo.methods` is imported it registers both methods, and
`pkg://solo_intl.scripts...` names a folder of the shipped YAML; a registration that fails is a warning, never
an error."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl

from hydra_plugins.solo_intl_plugin import SoloIntlPlugin
from solo_intl import host

ROOT = Path(__file__).resolve().parents[2]

APP = """
import sys

import hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin


@hydra.main(version_base="1.2", config_path=None)
def app(cfg):
    found = [plugin.__name__ for plugin in Plugins.instance().discover(SearchPathPlugin)]
    print("plugins:", found)
    print("path:", [(e.provider, e.path) for e in create_config_search_path(None).get_path()])
    print("imported:", sorted({"torch", "solo", "solo_intl", "lightning"} & set(sys.modules)))


app()
"""


def test_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    quiet = ["hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=disabled"]
    done = subprocess.run(
        [sys.executable, "app.py", *quiet],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    plugins, path, imported = done.stdout.splitlines()
    assert "SoloIntlPlugin" in plugins
    assert path == "path: [('hydra', 'pkg://hydra.conf'), ('schema', 'structured://')]"
    assert imported == "imported: []"
    assert done.stderr == ""


def search_path(main: str) -> ConfigSearchPathImpl:
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("main", main)
    return path


def places(path: ConfigSearchPathImpl) -> list[str]:
    return [str(element.path) for element in path.get_path()]


def test_registers_where_solo_learn_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {name: host.SOLO_METHODS[name] for name in ("intl", "intl_ema")}
    for name in methods:
        monkeypatch.delitem(host.SOLO_METHODS, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoloIntlPlugin().manipulate_search_path(search_path("file:///some/scripts"))
    assert {name: host.SOLO_METHODS[name] for name in methods} == methods


@pytest.mark.parametrize(
    ("main", "folder"),
    [
        ("pkg://solo_intl.scripts.pretrain.cifar", "pretrain/cifar"),
        ("pkg://solo_intl.scripts.pretrain.imagenet-100", "pretrain/imagenet-100"),
        ("pkg://solo_intl.scripts/linear/cifar/", "linear/cifar"),
    ],
)
def test_the_shipped_yaml_has_a_name(main: str, folder: str) -> None:
    path = search_path(main)
    SoloIntlPlugin().manipulate_search_path(path)
    hydra, found = places(path)
    assert hydra == "pkg://hydra.conf"
    assert list(Path(found.removeprefix("file://")).glob("*.yaml"))
    assert Path(found.removeprefix("file://")).samefile(ROOT / "scripts" / folder)


@pytest.mark.parametrize("main", ["scripts/pretrain/cifar", "file:///a", "pkg://solo_intl.other", "pkg://a"])
def test_other_paths_stay(main: str) -> None:
    path = search_path(main)
    SoloIntlPlugin().manipulate_search_path(path)
    assert places(path) == ["pkg://hydra.conf", main]


def test_nothing_happens_without_solo_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "solo.methods")
    monkeypatch.delitem(host.SOLO_METHODS, "intl")
    path = search_path("pkg://solo_intl.scripts.pretrain.cifar")
    SoloIntlPlugin().manipulate_search_path(path)
    assert "intl" not in host.SOLO_METHODS
    assert places(path) == ["pkg://hydra.conf", "pkg://solo_intl.scripts.pretrain.cifar"]


def test_a_failure_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "solo_intl.methods", None)  # importing it now raises
    path = search_path("pkg://solo_intl.scripts.pretrain.cifar")
    with pytest.warns(UserWarning, match="method=intl is not available: .*solo_intl.methods"):
        SoloIntlPlugin().manipulate_search_path(path)
    assert places(path) == ["pkg://hydra.conf", "pkg://solo_intl.scripts.pretrain.cifar"]
