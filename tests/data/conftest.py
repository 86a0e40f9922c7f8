from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Helpers beside the tests are plain modules; a package called "tests" may belong to somebody else.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def no_system_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without dataset-fashion-mnist."""
    from solo_intl.data.sources import fashion_mnist

    absent = tmp_path / "no-such-system-folder"
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", absent)
    return absent


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    from data_files import FileServer

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    running = FileServer()
    yield running
    running.close()
