"""The command line: ``solo-intl COMMAND``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from solo_intl._version import __version__
from solo_intl.errors import UserError, not_accepted

COMMANDS = {
    "pretrain": "pre-train a method (default: INTL on digits); --dry-run measures what it would cost",
    "linear": "linear evaluation of a checkpoint, by SGD on images or Adam on features",
    "finetune": "semi-supervised: fine-tune a checkpoint on 1 % or 10 % of the labels, or train from scratch",
    "knn": "k-nearest-neighbour evaluation of a checkpoint",
    "embed": "features and file names of any folder of images",
    "compare": "methods x rates x seeds on one data set: pre-training, k-NN, linear; goes on where it stood",
    "report": "a comparison's folder as one HTML file, PNG figures and Markdown (compare ends with it)",
    "export": "a checkpoint's backbone for torchvision, timm, safetensors or detectron2 (--to)",
    "data": "data sets: which are here, and how to get the others",
    "doctor": "what this machine and installation can do, and how to mend what is missing",
    "experiment": "demo (trains on digits, compares); analyses: theory, toy, instability, ablation",
}
CONFIGURED = ("pretrain", "linear", "finetune", "knn", "embed", "export", "compare")
USAGE = "usage: solo-intl COMMAND [--config-path DIR] [--config-name NAME] [KEY=VALUE ...]"


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([USAGE, "", *lines, "", "COMMAND --cfg job prints a configuration."])


def _refuse_arguments(command: str, rest: Sequence[str]) -> None:
    if rest:
        raise UserError(f"{command}: found {rest[0]!r}, accepted: no arguments")


def _dispatch(command: str, rest: list[str]) -> int:
    if command in CONFIGURED:
        from solo_intl.config import run_with_hydra, take_flag
        from solo_intl.register import register

        register()
        if command == "pretrain" and "--dry-run" in rest:
            rest = [*(a for a in rest if a != "--dry-run"), "dry_run=true"]
        if command == "export":
            to, rest = take_flag(rest, "--to")
            rest = rest if to is None else [*rest, f"to={to}"]
        done = run_with_hydra(command, _task(command), rest)
        return int(command == "compare" and bool(done and done["failed"]))
    elif command == "experiment":
        from solo_intl.experiments import run_experiment

        run_experiment(rest)
    elif command == "report":
        from solo_intl.experiments.report import run

        run(rest)
    else:
        _refuse_arguments(command, rest)
        if command == "data":
            from solo_intl.commands import data

            data.run()
        else:
            from solo_intl.commands import doctor

            doctor.run()
    return 0


def _task(command: str):  # type: ignore[no-untyped-def]
    from importlib import import_module

    room = "experiments" if command == "compare" else "commands"
    return import_module(f"solo_intl.{room}.{command}").run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 2 for a user's mistake, told in one line; 1 where a cell failed.

    Example:
        >>> main(["--version"]) == 0
        solo-intl 0.1.0
        True
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if given[0] == "--version":
        print(f"solo-intl {__version__}")
        return 0
    command, rest = given[0], given[1:]
    try:
        if command not in COMMANDS:
            raise not_accepted("COMMAND", command, COMMANDS)
        return _dispatch(command, rest)
    except UserError as error:
        print(f"solo-intl: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("solo-intl: interrupted", file=sys.stderr)
        return 130


def script() -> None:
    """Entry point of the installed ``solo-intl``."""
    sys.exit(main())


if __name__ == "__main__":
    script()
