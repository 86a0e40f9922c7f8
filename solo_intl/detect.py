"""Find the installed solo-learn without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from solo_intl.errors import UserError

HEAD = "head"
LEGACY = "1.0.2"
INSTALL_LEGACY = "pip install --no-deps solo-learn==1.0.2"
INSTALL_HEAD = "pip install 'setuptools<81' wheel && pip install --no-deps --no-build-isolation <checkout>"


class HostMissing(UserError, ImportError):
    """solo-learn is missing, unreadable, or not the generation SOLO_EXPECT names."""


@dataclass(frozen=True)
class HostInfo:
    """What was found: its generation ("head" or "1.0.2"), version, folder, and commit for a checkout."""

    generation: str
    version: str
    location: Path
    commit: str | None = None

    def __str__(self) -> str:
        commit = f", commit {self.commit[:7]}" if self.commit else ""
        return f"solo-learn {self.version} ({self.generation}{commit}) at {self.location}"


def _generation(folder: Path) -> str | None:
    if (folder / "backbones" / "__init__.py").is_file() and (folder / "args" / "pretrain.py").is_file():
        return HEAD
    if (folder / "utils" / "backbones.py").is_file() and (folder / "methods" / "base.py").is_file():
        return LEGACY
    return None


def _candidates() -> list[Path]:
    spec = importlib.util.find_spec("solo") if "solo" not in sys.modules else sys.modules["solo"].__spec__
    first = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    # an imported package is the one in use; before that, any importable copy may be chosen
    rest = [] if "solo" in sys.modules else [Path(entry or ".") / "solo" for entry in sys.path]
    return [folder for folder in first + rest if folder.is_dir()]


def checkout_commit(root: Path) -> str | None:
    """The commit of a checkout, None where ``root`` is none (a git project around it does not count)."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _distribution(folder: Path) -> importlib.metadata.Distribution | None:
    """The installed distribution that ``folder`` belongs to."""
    try:
        installed = importlib.metadata.distribution("solo-learn")
    except importlib.metadata.PackageNotFoundError:
        return None
    inside = Path(str(installed.locate_file("solo"))).resolve() == folder.resolve()
    return installed if inside else None


def _commit(folder: Path, installed: importlib.metadata.Distribution | None) -> str | None:
    """The commit of the checkout, or of the one pip installed from."""
    if installed is None:
        return checkout_commit(folder.parent)
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    commit: str | None = origin.get("vcs_info", {}).get("commit_id")
    url = origin.get("url", "")
    return commit or (
        checkout_commit(Path(url.removeprefix("file://"))) if url.startswith("file://") else None
    )


def find_host() -> HostInfo:
    """The solo-learn this process would use; HEAD wins when both generations can be imported.

    Raises:
        HostMissing: none is installed, it is of neither known generation, or it is not what the
            environment variable ``SOLO_EXPECT`` (``head`` or ``1.0.2``) asks for.

    Example:
        >>> find_host().generation in ("head", "1.0.2")
        True
    """
    folders = _candidates()
    known = [(folder, generation) for folder in folders if (generation := _generation(folder))]
    expected = os.environ.get("SOLO_EXPECT")
    if expected not in (None, "", HEAD, LEGACY):
        raise HostMissing(f"SOLO_EXPECT: found '{expected}', accepted: {HEAD}, {LEGACY}")
    if not known:
        found = f"unknown generation at {folders[0]}" if folders else "not installed"
        raise HostMissing(f"solo-learn: {found}; install it with: {INSTALL_LEGACY} (or HEAD: {INSTALL_HEAD})")
    folder, generation = next((pair for pair in known if pair[1] == HEAD), known[0])
    installed = _distribution(folder)
    version = installed.version if installed else "checkout"
    info = HostInfo(generation, version, folder, _commit(folder, installed))
    if expected and expected != generation:
        command = INSTALL_LEGACY if expected == LEGACY else INSTALL_HEAD
        raise HostMissing(f"SOLO_EXPECT={expected}: found {info}; install the expected one with: {command}")
    return info


def prefer(info: HostInfo) -> None:
    """Make ``import solo`` take the copy that ``find_host`` chose."""
    parent = str(info.location.parent.resolve())
    if "solo" not in sys.modules:
        spec = importlib.util.find_spec("solo")
        places = [Path(p).resolve() for p in (spec.submodule_search_locations or [])] if spec else []
        if info.location.resolve() not in places:
            sys.path.insert(0, parent)
