"""What all commands share: where to print, how progress looks, and how an error is told."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def leads() -> bool:
    """Whether this process is the one that reports: under torchrun, the first."""
    return os.environ.get("RANK", "0") == "0"


class _Notes(logging.Handler):
    """What the library has to say (which loader it chose, where it continues), a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        if not leads():
            return
        errors.print(record.getMessage(), style="dim", markup=False, soft_wrap=True)


@contextmanager
def error_boundary() -> Iterator[None]:
    """One clear line for what the user can mend, with the exit code that goes with it; a traceback for our own bugs."""
    from fastsketch.errors import FastSketchError

    handler = _Notes()
    logger = logging.getLogger("fastsketch")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except FastSketchError as error:
        _tell(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        # A full disk, a folder without permission: the system's own words say what and where.
        _tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        errors.print("interrupted")
        raise typer.Exit(130) from error
    finally:
        logger.removeHandler(handler)


def _tell(message: str, hint: str | None = None) -> None:
    errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    if hint:
        errors.print(f"       {escape(hint)}", soft_wrap=True)


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
