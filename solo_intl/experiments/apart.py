"""Cells in processes of their own, which end with the command that started them."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import torch

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def own_gpu(place: int) -> dict[str, str]:
    """Environment in which the n-th process sees one GPU of its own; empty where there are not several."""
    count = torch.cuda.device_count()
    if count < 2:
        return {}
    given = os.environ.get(_VISIBLE, "")
    names = given.split(",") if given else list(map(str, range(count)))
    return {_VISIBLE: names[place % count]}


def run_apart(
    target: Callable[..., object], *arguments: Any, environment: Mapping[str, str] | None = None
) -> int | None:
    """Call ``target`` in a fresh process and wait; its exit code, -n when signal n ended it.

    Killing this process ends the other one too: the same command, given again, would meet it at work.
    ``environment`` joins the process's own before it imports ``target``.
    """
    call = pickle.dumps((target, arguments))
    process = multiprocessing.get_context("spawn").Process(target=_guarded, args=(call, environment or {}))
    process.start()
    process.join()
    return process.exitcode


def _guarded(call: bytes, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target, arguments = pickle.loads(call)
    target(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def end_all(by_force: bool = False) -> None:
    """End the processes that still run, by force if they would not otherwise."""
    for process in multiprocessing.active_children():
        (process.kill if by_force else process.terminate)()


class Named(io.TextIOBase):
    """Passes whole lines on to ``stream``, each behind ``name``: cells side by side share one output.

    Example:
        >>> import sys
        >>> print("epoch 1/2", file=Named("byol, seed 0", sys.stdout))
        byol, seed 0: epoch 1/2
    """

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream, self.rest = name, stream, ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if lines:
            self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
            self.stream.flush()
        return len(text)
