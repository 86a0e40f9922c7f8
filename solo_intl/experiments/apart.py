"""Cells in processes of their own, which end with the command that started them."""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any, TextIO


def run_apart(target: Callable[..., object], *arguments: Any) -> int | None:
    """Call ``target`` in a fresh process and wait; its exit code, -n when signal n ended it.

    Killing this process ends the other one too: the same command, given again, would meet it at work.
    """
    process = multiprocessing.get_context("spawn").Process(target=_guarded, args=(target, arguments))
    process.start()
    process.join()
    return process.exitcode


def _guarded(target: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def end_all() -> None:
    """End the processes that still run."""
    for process in multiprocessing.active_children():
        process.terminate()


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
