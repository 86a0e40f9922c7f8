"""Checkpoint files read without running what they may hold."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from solo_intl.errors import UserError

_ACCEPTED = "a checkpoint with a 'state_dict' or 'model', or a bare state dict, saved by torch.save"
SAFETENSORS = ".safetensors"
_WEIGHTS = ("state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        state_dict: every tensor of the model, by name.
        cfg: the resolved pretraining config that `solo-intl pretrain` stores, or None.
        path: the file.

    Example:
        >>> Checkpoint({"conv1.weight": torch.zeros(1)}, None, Path("resnet.pth")).cfg is None
        True
    """

    state_dict: dict[str, Tensor]
    cfg: dict[str, Any] | None
    path: Path


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running any code it may hold (`weights_only=True`), onto the CPU.

    Args:
        path: a Lightning checkpoint, {"state_dict": ...} or {"model": ...}, a bare state dict, or a
            .safetensors file (with the config that `solo-intl export` puts into its metadata, if any).

    Raises:
        UserError: no such file, a folder, pickled code, a truncated or damaged file, or no state dict.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": {"backbone.bias": torch.zeros(2)}}, f"{folder}/last.ckpt")
        ...     read_checkpoint(f"{folder}/last.ckpt").state_dict
        {'backbone.bias': tensor([0., 0.])}
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: found a folder; accepted: the path of a checkpoint file")
    if not path.is_file():
        raise UserError(f"{path}: found no such file; accepted: the path of a checkpoint file")
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    content = _load(path)
    state, cfg = content, None
    if isinstance(content, dict):
        state = next((content[key] for key in _WEIGHTS if isinstance(content.get(key), dict)), content)
        ours = content.get("solo_intl")
        cfg = ours.get("cfg") if isinstance(ours, dict) else None
        cfg = cfg if isinstance(cfg, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        found = (
            f"the keys {first_few(list(content))}"
            if isinstance(content, dict)
            else f"a {type(content).__name__}"
        )
        raise UserError(f"{path}: found {found} and no weights by name; accepted: {_ACCEPTED}")
    return Checkpoint({str(key): value for key, value in state.items()}, cfg, path)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a mapping
        cfg = json.loads(metadata.get("config", "null"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: found a damaged or truncated file; accepted: a safetensors file") from error
    if not state:
        raise UserError(f"{path}: found no weights; accepted: a safetensors file with a backbone's weights")
    return Checkpoint(state, cfg if isinstance(cfg, dict) else None, path)


def first_few(names: Sequence[Any], limit: int = 3) -> str:
    """The first names of a list, for a one-line message.

    Example:
        >>> first_few(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    shown = ", ".join(str(name) for name in names[:limit])
    return f"{shown}, ..." if len(names) > limit else shown


def _load(path: Path) -> Any:
    damaged = f"{path}: found a damaged or truncated file, or none of torch's; accepted: {_ACCEPTED}"
    try:
        # torch skips the archive's checksums, so a flipped bit would become a wrong weight in silence
        if zipfile.is_zipfile(path) and not _checksums_hold(path):
            raise UserError(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(
            f"{path}: can't be read ({error.strerror or error}); accepted: {_ACCEPTED}"
        ) from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise UserError(damaged) from error
        raise UserError(
            f"{path}: found a pickled {refused[1]}, which could run code and is not read; accepted: plain "
            "weights (if you trust the file, load it with weights_only=False and save its state_dict alone)"
        ) from error
    except UserError:
        raise
    except Exception as error:  # a file that is no pickle fails in as many ways as there are first bytes
        if "TorchScript" in str(error):
            raise UserError(f"{path}: found a TorchScript program; accepted: {_ACCEPTED}") from error
        raise UserError(damaged) from error


def _checksums_hold(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.CRC == 0:  # torch can be told not to write them
                continue
            try:
                with archive.open(entry) as file:
                    while file.read(2**20):
                        pass
            except zipfile.BadZipFile:
                return False
    return True
