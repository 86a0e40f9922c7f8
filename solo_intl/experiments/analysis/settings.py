"""Settings of an analysis: its YAML at one size, with the user's changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_intl.config import SCRIPTS
from solo_intl.errors import UserError, not_accepted, unknown_key

SIZES = ("quick", "full")
OWN = ("size", "dir", "name")


def read_settings(analysis: str, arguments: Sequence[str]) -> tuple[DictConfig, Path]:
    """Settings and folder of ``solo-intl experiment ANALYSIS [size=] [dir=] [name=] [KEY=VALUE ...]``.

    The YAML's common keys come first, then those of the size, then the arguments.

    Raises:
        UserError: an unknown size or key, or a value of another kind than the YAML's.
    """
    own = {"size": "quick", "dir": "runs"}
    changes: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(f"experiment {analysis}: found {argument!r}, accepted: KEY=VALUE")
        (own if key in OWN else changes)[key] = value
    if own["size"] not in SIZES:
        raise not_accepted(f"experiment {analysis}, size", own["size"], SIZES)
    file: Any = OmegaConf.load(SCRIPTS / "experiment" / f"{analysis}.yaml")
    sizes = {size: file.pop(size) for size in SIZES}
    settings = DictConfig(OmegaConf.merge(file, sizes[own["size"]]))
    for key, value in changes.items():
        _change(settings, key, value, [*OWN, *map(str, settings)])
    name = own.get("name", f"{analysis}-{own['size']}")
    return settings, Path(own["dir"]) / "experiment" / name


def open_folder(folder: Path, settings: DictConfig) -> None:
    """Keep the settings beside the results, so that no cell of other settings ever joins them.

    Raises:
        UserError: the folder holds results of other settings.
    """
    file = folder / "settings.yaml"
    text = OmegaConf.to_yaml(settings, resolve=True)
    if file.is_file() and file.read_text() != text:
        raise UserError(
            f"name: found '{folder.name}', whose folder {folder} holds results of other settings; "
            "accepted: a new name, or the same settings"
        )
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".yaml.partial")  # a killed command leaves no half of it, to be refused
        partial.write_text(text)
        partial.replace(file)


def _change(settings: DictConfig, key: str, value: str, accepted: Sequence[str]) -> None:
    before = OmegaConf.select(settings, key)
    if before is None:
        raise unknown_key(key, accepted)
    try:
        after = OmegaConf.select(OmegaConf.from_dotlist([f"{key}={value}"]), key)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: found {value!r}, accepted: YAML ({error})") from None
    if isinstance(before, float) and _kind(after) == "whole number":
        after = float(after)
    if _kind(before) != _kind(after):
        raise UserError(f"{key}: found {value!r}, accepted: a {_kind(before)}, such as {before}")
    OmegaConf.update(settings, key, after, merge=False)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__.removesuffix("Config").lower()
    return "number" if isinstance(value, float) else "whole number"
