"""Where the commands print."""

from __future__ import annotations

from rich.progress import Progress

from fastsketch.progress import Console, Screen, command_console, plain
from fastsketch.progress import progress_bar as progress_bar_on

from .process import leads

__all__ = ["NAME", "console", "errors", "plain", "progress_bar", "screen"]

NAME = 60
"""Letters of a name in a table."""

console = command_console()
errors = command_console(stderr=True)


def screen() -> Screen:
    """Results on stdout, all else on stderr, of the one process that reports; nothing of the others."""
    if leads():
        return Screen(console, errors)
    return Screen(Console(quiet=True), Console(quiet=True), hidden=True)


def progress_bar() -> Progress:
    """A bar on stderr."""
    return progress_bar_on(screen())
