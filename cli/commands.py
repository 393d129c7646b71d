"""All commands. They import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from . import (
    bench,
    convert,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    merge,
    predict,
    preview,
    process,
    recipes,
    serve,
    soup,
    sweep,
    train,
    tune,
)
from .boundary import error_boundary
from .unknown import is_unknown_option, unknown_option


class _Commands(TyperGroup):
    """Runs every command within the boundary, whoever called: the installed script, a test, another program."""

    def invoke(self, ctx: Any) -> Any:
        with error_boundary(), process.working():
            try:
                return super().invoke(ctx)
            except Exception as error:
                if is_unknown_option(error):
                    raise unknown_option(error) from None
                raise


app = typer.Typer(
    name="fastsketch",
    cls=_Commands,
    help="The fastest way to fine-tune an image classifier on sketches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        from fastsketch import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


app.command("demo")(demo.command)
app.command("convert")(convert.command)
app.command("merge")(merge.command)
app.command("inspect")(inspect.command)
app.command("train")(train.command)
app.command("tune")(tune.command)
app.command("sweep")(sweep.command)
app.command("evaluate")(evaluate.command)
app.command("soup")(soup.command)
app.command("predict")(predict.command)
app.command("serve")(serve.command)
app.command("export")(export.command)
app.command("preview")(preview.command)
app.command("recipes")(recipes.command)
app.command("doctor")(doctor.command)
app.command("bench")(bench.command)
