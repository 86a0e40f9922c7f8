"""How commands print their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """A two-column table."""
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    _print(title, table)


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with a header."""
    table = Table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    _print(title, table)


def percent(value: float | None) -> str:
    """One accuracy as it stands in a table."""
    return "-" if value is None else f"{value:.2f}"


def _print(title: str, table: Table) -> None:
    console = Console()
    # a pipe has no width of its own, and a table squeezed to 80 columns loses its paths
    console = console if console.is_terminal else Console(width=140)
    # not as the table's own title, which wraps at the width of a narrow table
    console.print(title, highlight=False)
    console.print(table)
