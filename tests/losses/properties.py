"""What the tests of the theory share: running a property, showing a broken one refuted, and exact h_T.

A file of its own beside the tests: a package `tests` comes with solo-learn's wheels.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

steps = st.integers(0, 4)  # T
some_steps = st.integers(1, 4)
seeds = st.integers(0, 2**31)
axes = st.sampled_from(["channel", "batch"])
unit = st.integers(1, 2**16 - 1).map(lambda k: Fraction(k, 2**16))  # inside (0, 1)


def proved(statement: Callable[..., None], *strategies: Any, examples: int = 150) -> None:
    settings(max_examples=examples, deadline=None, derandomize=True)(given(*strategies)(statement))()


def refuted(statement: Callable[..., None], *strategies: Any) -> None:
    quick = settings(max_examples=50, deadline=None, derandomize=True, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        quick(given(*strategies)(statement))()


def h(x: Fraction, iterations: int) -> Fraction:
    """h_T by the published f, exactly."""
    f = Fraction(1)
    for _ in range(iterations):
        f = (3 * f - x * f**3) / 2
    return x * f**2
