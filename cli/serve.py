"""`fastsketch serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, plain


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, which are asked together; or exported files."),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 7860,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines ask.")] = "127.0.0.1",
    token: Annotated[str | None, typer.Option(help="Answer only who brings it.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Another site whose pages may ask.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep what is drawn in this folder.")] = None,
    data: Annotated[Path | None, typer.Option(help="The run's data set, if it has moved.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Draw and see: a page that recognises a sketch while it is drawn, and a JSON API."""
    from fastsketch.inference.saved import SavedModel
    from fastsketch.optional import import_optional

    # What is wrong with them is told before torch is imported.
    models = [model.read_as(None, None) for model in SavedModel.find_all(runs, checkpoint)]
    for name in ("starlette", "uvicorn"):
        import_optional(name, name, "serve")
    from fastsketch.serve.serve import serve

    serve(
        models,
        host=host,
        port=port,
        token=token,
        origins=allow_origin or (),
        keep=keep,
        data=data,
        device=device,
        on_start=lambda address: console.print(f"[bold]{plain(address)}[/]   Ctrl-C ends it", soft_wrap=True),
    )
