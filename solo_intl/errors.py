"""The one exception a user's mistake becomes, and how it names what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake in one line: which key or file, what was found, what is accepted.

    The command line prints it without a traceback and exits with code 2.

    Example:
        >>> raise UserError("data.dataset: found 'cifar', accepted: cifar10, cifar100")
        Traceback (most recent call last):
        ...
        solo_intl.errors.UserError: data.dataset: found 'cifar', accepted: cifar10, cifar100
    """


def nearest(key: str, accepted: Iterable[str]) -> str:
    """The end of an error message: the nearest accepted key, or all of them.

    Example:
        >>> nearest("lrr", ["lr", "momentum"])
        'nearest: lr'
    """
    accepted = sorted(accepted)
    close = difflib.get_close_matches(key, accepted, n=1, cutoff=0.5)
    return f"nearest: {close[0]}" if close else f"accepted: {', '.join(accepted)}"
