"""`fastsketch export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import console, plain

if TYPE_CHECKING:
    from fastsketch.exporting.export import ExportedFile


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    to: Annotated[
        str, typer.Option(help="onnx, torch for a .pt2 file, or page for one on which to draw, in a browser alone.")
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The folder. [default: RUN/export, RUN/page]")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    data: Annotated[Path | None, typer.Option(help="The run's data set, if it has moved.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Besides, with eight-bit weights and activations.")] = False,
    dense: Annotated[bool, typer.Option("--dense", help="Show a transformer all patches.")] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="Of a page: onnxruntime-web, its folder or its .tgz. [default: in node_modules]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write a model that needs no fastsketch, preprocessing inside, and prove that it says the same."""
    if to == "page":
        _export_page(run, out, runtime, checkpoint=checkpoint, data=data, int8=int8, dense=dense, overwrite=overwrite)
        return
    from fastsketch.errors import ConfigError
    from fastsketch.exporting.card import CARD
    from fastsketch.exporting.export import export_run

    if runtime is not None:
        raise ConfigError("--runtime is of --to page")
    files = export_run(run, to, out, checkpoint=checkpoint, data=data, int8=int8, dense=dense, overwrite=overwrite)
    for each in files:
        _report(each)
    console.print(f"model card: {plain(files[0].path.parent / CARD)}", soft_wrap=True)


def _export_page(run: Path, out: Path | None, runtime: Path | None, *, int8: bool, dense: bool, **options: Any) -> None:
    from fastsketch.errors import ConfigError
    from fastsketch.exporting.page import export_page

    if int8 or dense:
        raise ConfigError("a page takes neither --int8 nor --dense")
    file = export_page(run, out, runtime=runtime, **options)
    _report(file)
    folder = file.path.parent
    console.print(
        f"[bold]{plain(folder)}[/] is a page: python -m http.server --directory {plain(folder)}", soft_wrap=True
    )


def _report(file: ExportedFile) -> None:
    parity, described = file.description.parity, file.description
    assert parity is not None
    console.print(
        f"[bold]{plain(file.path)}[/], {described.precision}, {file.path.stat().st_size / 1e6:,.1f} MB: on "
        f"{parity.sketches} sketches top-1 is the same for {parity.same_top1:.2%}, "
        f"a probability differs by {parity.largest_difference:.1e} at most",
        soft_wrap=True,
    )
    if described.top1 is not None:
        console.print(f"  val top-1 {described.top1:.2%}")
    speeds = (f"{size}: {ours:g} ({torchs:g})" for size, (ours, torchs) in parity.milliseconds.items())
    console.print(f"  ms a batch of {', '.join(speeds)}; PyTorch's in brackets", soft_wrap=True)
