"""`fastsketch recipes`."""

from __future__ import annotations

from .console import console, error_boundary


def command() -> None:
    """List the recipes, a line each."""
    with error_boundary():
        from rich.table import Table

        from fastsketch.config import load_recipe, recipe_names

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name in recipe_names():
            table.add_row(f"[bold]{name}[/]", load_recipe(name).description)
        console.print(table)
        console.print("\nfastsketch train DATA --recipe NAME; any YAML file of the same form will do as well")
