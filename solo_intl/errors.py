"""The one exception a user's mistake becomes, and how it names what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A user's mistake in one line: which key or file, what was found, what is accepted.

    The command line prints it without a traceback and exits with code 2.

    Example:
        >>> raise UserError("data.dataset: found 'cifar', accepted: cifar10, cifar100")
        Traceback (most recent call last):
        ...
        solo_intl.errors.UserError: data.dataset: found 'cifar', accepted: cifar10, cifar100
    """


def not_accepted(key: str, found: Any, accepted: Iterable[Any]) -> UserError:
    """The error for a value outside a fixed list, with the nearest accepted one when there is any.

    Example:
        >>> print(not_accepted("data.format", "image_foldr", ["image_folder", "h5"]))
        data.format: found 'image_foldr', accepted: image_folder, h5 (nearest: image_folder)
    """
    names = [str(name) for name in accepted]
    close = _nearest(str(found), names)
    return UserError(f"{key}: found {found!r}, {_list(names)}{f' (nearest: {close})' if close else ''}")


def unknown_key(key: str, accepted: Iterable[str], owner: str = "") -> UserError:
    """The error for a key that does not exist: the nearest one that does, or all of them.

    Example:
        >>> print(unknown_key("optimizer.lrr", ["lr", "name"]))
        optimizer.lrr: unknown key, nearest: lr
    """
    names = sorted(accepted)
    if not names:
        return UserError(f"{key}: unknown key{owner}, accepted: a single value, not a section")
    close = _nearest(key.rpartition(".")[2], names)
    return UserError(f"{key}: unknown key{owner}, {f'nearest: {close}' if close else _list(names)}")


def _list(names: Iterable[str]) -> str:
    return f"accepted: {', '.join(names)}"


def _nearest(found: str, names: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(found, names, n=1, cutoff=0.5)), None)
