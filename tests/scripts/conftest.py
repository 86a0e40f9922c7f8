"""What the YAML tests share: a config composed as `--config-path DIR --config-name NAME` would."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    @functools.cache
    def once(path: str, overrides: tuple[str, ...]) -> DictConfig:
        file = SCRIPTS / path
        with initialize_config_dir(str(file.parent), version_base="1.2"):
            return compose(file.name, overrides=list(overrides))

    def read(path: str, overrides: Sequence[str] = ()) -> DictConfig:
        return copy.deepcopy(once(path, tuple(overrides)))

    return read
