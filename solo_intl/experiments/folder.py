"""The folder of a comparison: the cells in it, and that only cells of the same settings ever join."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_intl import host
from solo_intl.engine.run_folder import read_json
from solo_intl.errors import UserError
from solo_intl.experiments.grid import RAW, RESULT, UNTRAINED, Cell, directory_of, rates_of

_MORE = ("methods", "rates", "seeds", "rows")  # may join later
_FREE = (*_MORE, "jobs", "checkpoint", "report", "note")
_SEED = re.compile(r"seed(\d+)")


def places(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Name, seed and folder of each cell that has begun; whatever else stands among them is passed over.

    Args:
        folder: the comparison's.
    """
    names = {directory_of(name): name for name in (RAW, UNTRAINED)}
    for place in folder.glob("cells/*/*"):
        found = _SEED.fullmatch(place.name)
        if found and place.is_dir():
            directory = place.parent.name
            yield names.get(directory, directory), int(found[1]), place


def open_folder(folder: Path, cfg: DictConfig, cells: Sequence[Cell]) -> None:
    """Keep the settings beside the results, so that no cell of other settings ever joins them.

    Raises:
        UserError: the folder holds a comparison, or a finished cell, with other settings.
    """
    file = folder / "config.yaml"
    whole = {
        **host.plain(cfg),
        "methods": [cell.file for cell in cells if cell.file],
        "rates": rates_of(cfg),
        "seeds": [int(cell.cfg.seed) for cell in cells],
        "rows": [cell.name for cell in cells],  # not every method need have had every rate
    }
    if file.is_file():
        kept = host.plain(OmegaConf.load(file))
        before = {key: value for key, value in kept.items() if key not in _FREE}
        now = {key: value for key, value in host.plain(cfg).items() if key not in _FREE}
        if before != now:
            different = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            raise UserError(
                f"name: found '{cfg.name}', whose folder {folder} holds a comparison with other "
                f"{', '.join(different)}; accepted: a new name, or the same settings"
            )
        for key in _MORE:
            whole[key] = [*kept.get(key, ()), *whole[key]]
    _refuse_others(folder, cells)
    folder.mkdir(parents=True, exist_ok=True)
    whole |= {key: list(dict.fromkeys(whole[key])) for key in ("methods", "rows")}
    whole |= {key: sorted(set(whole[key])) for key in ("rates", "seeds")}
    partial = file.with_suffix(".partial")
    partial.write_text(OmegaConf.to_yaml(OmegaConf.create(whole), resolve=True))
    partial.replace(file)


def _refuse_others(folder: Path, cells: Sequence[Cell]) -> None:
    """The method's file may have been changed since one of its seeds was measured."""
    wanted = {cell.name: _decisive(cell.name, cell.settings) for cell in cells}
    for name, _, place in places(folder):
        result = read_json(place / RESULT)
        if name not in wanted or "accuracies" not in result:
            continue
        if "layer" not in result or "settings" not in result:
            raise UserError(
                f"{place / RESULT}: of an older version, which trained the linear layer in other batches; "
                "accepted: a new name, or no such file (the cell is judged again from its weights)"
            )
        then, now = _flat(_decisive(name, result["settings"])), _flat(wanted[name])
        different = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        if different:
            raise UserError(
                f"{', '.join(different)}: found other values than those of the finished cell {place}; "
                "accepted: the same settings, or a new name"
            )


def _decisive(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell's figures depend on: for what needs no training that is little, whoever's file it is of."""
    if name == RAW:
        return {"data": settings["data"]}
    if name == UNTRAINED:
        view = settings["augmentations"][0]  # of which the evaluation takes size and statistics
        seen = {key: view[key] for key in ("crop_size", "mean", "std") if key in view}
        return {"data": settings["data"], "backbone": settings["backbone"], "augmentations": seen}
    return dict(settings)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
