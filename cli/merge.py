"""`fastsketch merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import screen


def command(
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="What convert --part made, all of it.")],
    destination: Annotated[Path, typer.Argument(metavar="DATASET", help="The data set to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set.")] = False,
    format: Annotated[str, typer.Option(help="pack, and beside it: ffcv, dali or all.")] = "pack",
) -> None:
    """Put the parts of a conversion together: the very data set that one machine would have written."""
    from fastsketch.shown import merge_shown

    merge_shown(parts, destination, screen(), overwrite=overwrite, format=format)
