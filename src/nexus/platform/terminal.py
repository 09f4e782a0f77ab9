"""What commands print: tables that people can read, and that lose no character in a pipe or a narrow window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_WIDTH_OF_A_PIPE = 10_000


def open_console() -> Console:
    """Return the console for results. In a pipe or a file, where nobody resizes a window, a row is one line."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_PIPE
    return console


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print rows under their columns' names. What does not fit is wrapped, never cut: ids are there to be copied."""
    table = Table(
        *(Column(name, overflow="fold") for name in columns),
        box=None,
        pad_edge=False,
        title=title or None,
        title_justify="left",
    )
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    console.print(table)
