"""Tables for a terminal, and whole ones for a pipe or a file."""

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

# In a pipe or a file a row is one line, however long.
_PIPE_COLUMNS: Final = 10_000


def print_whole(table: "Table") -> None:
    """Print a table without cutting a word: folded to the width of a terminal, else on long lines."""
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"
    Console(width=terminal_width()).print(table)


def terminal_width() -> int | None:
    """What a console of ``rich`` is told: None for a terminal, which knows its own width; else long lines."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS


def progress() -> "Progress":
    """A bar with counts and the time left, on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal)
