"""`fastsketch recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import console, plain

INDENT = "    "
LINE = 120
"""Letters of a line of explanation, at most."""


def command(
    name: Annotated[
        str | None, typer.Argument(help="Print this recipe, to be copied and changed; with --keys, a section.")
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="List all that a recipe can say instead.")] = False,
) -> None:
    """List the recipes, a line each, or print one; or list the keys that `--set` and a recipe take."""
    if keys:
        _list_keys(name)
    elif name is not None:
        from fastsketch.recipes import recipe_text

        typer.echo(recipe_text(name), nl=False)
    else:
        _list_recipes()


def _list_recipes() -> None:
    from rich.table import Table

    from fastsketch.recipes import load_recipe, recipe_names

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for each in recipe_names():
        table.add_row(f"[bold]{each}[/]", load_recipe(each).description)
    console.print(table)
    console.print(
        "\nfastsketch train DATA --recipe NAME; any YAML file of the same form will do as well: "
        "fastsketch recipes NAME > mine.yaml"
    )


def _list_keys(section: str | None) -> None:
    """Each key with its default, what it takes, and what it means below."""
    from textwrap import fill

    from fastsketch.config.reference import key_reference

    for key in key_reference(section):
        console.print(f"[bold]{key.name}[/] = {plain(key.default)}  [dim]{plain(key.type)}[/]", soft_wrap=True)
        text = fill(key.meaning, min(console.width, LINE), initial_indent=INDENT, subsequent_indent=INDENT)
        console.print(text, markup=False, soft_wrap=True)
    console.print("\nfastsketch train DATA --set KEY=VALUE, or in a recipe's YAML; in Python: section__key=value")
