"""`fastsketch recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import console


def command(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to be copied and changed.")] = None,
) -> None:
    """List the recipes, a line each, or print one."""
    from rich.table import Table

    from fastsketch.recipes import load_recipe, recipe_names, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for each in recipe_names():
        table.add_row(f"[bold]{each}[/]", load_recipe(each).description)
    console.print(table)
    console.print(
        "\nfastsketch train DATA --recipe NAME; any YAML file of the same form will do as well: "
        "fastsketch recipes NAME > mine.yaml"
    )
