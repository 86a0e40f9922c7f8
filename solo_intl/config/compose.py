"""Run a task under Hydra: solo-learn's command line, with errors a person can act on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_intl.config.schema import GROUPS, SCHEMAS, is_known
from solo_intl.errors import UserError, unknown_key

SCRIPTS = (
    Path(__file__).resolve().parent.parent / "scripts"
)  # the repository's scripts/, shipped in the wheel
DEFAULTS = {
    "pretrain": ("pretrain/digits", "intl"),
    "linear": ("linear", "default"),
    "finetune": ("finetune", "default"),
    "knn": ("knn", "default"),
    "embed": ("embed", "default"),
    "export": ("export", "default"),
    "compare": ("compare", "digits"),
}
BASE = "base"  # what the configurations of a folder share; no configuration itself
_QUIET = {
    "hydra.output_subdir": "null",
    "hydra.run.dir": ".",
    "hydra/hydra_logging": "disabled",
    "hydra/job_logging": "disabled",
}


def config_folder(path: str) -> Path:
    """Where ``--config-path`` points: absolute, from the working directory, or among the shipped YAML.

    Raises:
        UserError: no such folder in either place.
    """
    shipped = SCRIPTS / path.removeprefix("scripts/")
    for folder in (Path(path).expanduser(), shipped):
        if folder.is_dir():
            return folder.resolve()
    raise UserError(f"--config-path: no folder {path} here, nor {shipped} among the shipped configs")


def config_name(folder: Path, name: str) -> str:
    """Check ``--config-name``; the error lists what the folder holds."""
    stem = name.removesuffix(".yaml")
    if not (folder / f"{stem}.yaml").is_file():
        there = sorted(file.stem for file in folder.glob("*.yaml") if file.stem != BASE)
        raise UserError(
            f"--config-name: no {stem}.yaml in {folder}, accepted: {', '.join(there) or 'none there'}"
        )
    return stem


def method_config(folder: Path, overrides: Sequence[str], default: str) -> str:
    """The YAML that brings the keys of the method in ``method=NAME``; ``default`` where there is none."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "method" and (folder / f"{value}.yaml").is_file():
            return value
    return default


def take_flag(arguments: list[str], *flags: str) -> tuple[str | None, list[str]]:
    """Pull ``--flag value`` or ``--flag=value`` out of the arguments.

    Raises:
        UserError: the flag is last and has no value.

    Example:
        >>> take_flag(["--to", "timm", "seed=1"], "--to")
        ('timm', ['seed=1'])
    """
    rest, value, i = [], None, 0
    while i < len(arguments):
        flag, equals, given = arguments[i].partition("=")
        if flag in flags:
            if not equals:
                if i + 1 == len(arguments):
                    raise UserError(f"{flag}: found nothing after it, accepted: a value")
                i += 1
                given = arguments[i]
            value = given
        else:
            rest.append(arguments[i])
        i += 1
    return value, rest


# Hydra's own flags and whether each takes a value; a sweep is a loop in the shell here, one folder a run
FLAGS = {
    **dict.fromkeys(("--help", "-h", "--hydra-help", "--resolve", "--run", "-r"), False),
    **dict.fromkeys(("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd"), True),
}
# ours, taken out of the arguments before Hydra sees them; named in errors alone
OURS = ("--config-path", "--config-name")
OF_ONE_COMMAND = {"pretrain": "--dry-run", "export": "--to"}


def split_flags(arguments: list[str], command: str = "") -> tuple[list[str], list[str]]:
    """Hydra's flags and the overrides, apart: argparse refuses them interleaved.

    Raises:
        UserError: a flag that neither Hydra nor ``command`` has.

    Example:
        >>> split_flags(["max_epochs=2", "--cfg", "job", "seed=1"])
        (['--cfg', 'job'], ['max_epochs=2', 'seed=1'])
    """
    flags: list[str] = []
    overrides: list[str] = []
    expects_value = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if expects_value or (argument.startswith("-") and name in FLAGS):
            flags.append(argument)
            expects_value = not expects_value and FLAGS.get(name, False) and not equals
        elif argument.startswith("-"):
            raise _unknown_flag(argument, command)
        else:
            overrides.append(argument)
    return flags, overrides


def _unknown_flag(argument: str, command: str) -> UserError:
    own = [OF_ONE_COMMAND[command]] if command in OF_ONE_COMMAND else []
    name = argument.partition("=")[0]
    if name in OF_ONE_COMMAND.values() and name not in own:
        accepted = [flag for flag in (*own, *OURS, *FLAGS) if flag.startswith("--")]
        return UserError(f"{name}: no flag of solo-intl {command}, accepted: {', '.join(accepted)}")
    return unknown_key(argument, [*own, *OURS, *FLAGS])


def spell_override(override: str, command: str) -> str:
    """Let a known key that the YAML leaves out be set without Hydra's ``++``.

    Raises:
        UserError: the key is unknown; the nearest known one is named.

    Example:
        >>> spell_override("scheduler.min_lr=0", "pretrain"), spell_override("augmentations=x", "pretrain")
        ('++scheduler.min_lr=0', 'augmentations=x')
    """
    key, equals, value = override.partition("=")
    plain = key.lstrip("+~")
    if not equals or plain.startswith("hydra") or "/" in plain or "@" in plain or plain in GROUPS:
        return override
    schema = SCHEMAS[command]
    if not is_known(plain, schema):
        parts = plain.split(".")
        for depth in range(len(parts)):
            if not is_known(".".join(parts[: depth + 1]), schema):
                inside: Any = schema
                for part in parts[:depth]:
                    inside = inside[part] or {}
                raise unknown_key(".".join(parts[: depth + 1]), inside)
    if "=" in value and value[0] not in "'\"[{":
        value = f"'{value}'"  # solo-learn names its checkpoints ...-ep=3.ckpt, which Hydra's grammar refuses
    return f"{'++' if key == plain else key.removesuffix(plain)}{plain}={value}"


def run_with_hydra(command: str, task: Callable[[DictConfig], Any], arguments: list[str]) -> Any:
    """Compose the configuration that ``arguments`` describe and return what ``task`` makes of it.

    Raises:
        UserError: whatever Hydra or OmegaConf refuses, in one line.
    """
    given_path, arguments = take_flag(arguments, "--config-path", "-cp")
    given_name, arguments = take_flag(arguments, "--config-name", "-cn")
    default_path, default_name = DEFAULTS[command]
    # a folder that happens to be called `linear` where the user works is no configuration
    folder = config_folder(given_path) if given_path else (SCRIPTS / default_path).resolve()
    flags, overrides = split_flags(arguments, command)
    fallback = method_config(folder, overrides, default_name)
    if given_name is None and given_path is not None and not (folder / f"{fallback}.yaml").is_file():
        config_name(folder, "")
    name = config_name(folder, given_name or fallback)
    if given_name is None:
        shown = f"scripts/{default_path}/{name}.yaml" if given_path is None else f"{folder / name}.yaml"
        print(f"solo-intl {command}: no --config-name given, using {shown}", file=sys.stderr)
    overrides = [spell_override(override, command) for override in overrides]
    quiet = [
        f"{key}={value}" for key, value in _QUIET.items() if not any(key in given for given in overrides)
    ]

    original = list(sys.argv)
    before = os.environ.get("HYDRA_FULL_ERROR")

    composed: list[DictConfig] = []  # stays empty for --cfg, --help ...

    def keep(cfg: DictConfig) -> None:
        composed.append(DictConfig(OmegaConf.to_container(cfg, resolve=True)))

    # Hydra otherwise prints its own report and exits before the message can be made one line
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [original[0], *flags, *quiet, *overrides]
    try:
        hydra.main(version_base="1.2", config_path=str(folder), config_name=name)(keep)()
    except ConfigCompositionException as error:
        raise UserError(_one_line(error.__cause__ or error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from None
    finally:
        sys.argv = original
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
    # only now, with Hydra closed: tasks compose configurations too, and Lightning starts its other processes
    # from sys.argv, which names our command again
    return task(composed[0]) if composed else None


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "configuration: " + " ".join(lines)
