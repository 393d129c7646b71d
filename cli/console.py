"""What all commands share: where to print, and how progress and names look."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fastsketch.errors import one_line

from .process import leads

NAME = 60
"""Letters of a name in a table."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # the boundary knows what to do; rich itself would exit with 1


console = _Console(highlight=False)
errors = _Console(stderr=True, highlight=False)


def plain(name: object, limit: int | None = None) -> str:
    """A name that somebody else chose, as text for rich: no markup, nothing that a terminal obeys, on one line."""
    return escape(one_line(name, limit))


def progress_bar() -> Progress:
    """A bar that vanishes when it is done, and never appears where nobody looks."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not (sys.stderr.isatty() and leads()),
    )
