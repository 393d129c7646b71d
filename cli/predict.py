"""`fastsketch predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import console, errors, plain
from .prediction_display import PredictionDisplay

if TYPE_CHECKING:
    from fastsketch.inference.inputs import Input
    from fastsketch.inference.least_certain import LeastCertain
    from fastsketch.inference.rows import Row
    from fastsketch.inference.saved import SavedModel
    from fastsketch.inference.tables import Submission, Table
    from fastsketch.inference.writing import Answered


TOPK = 5


def command(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... INPUT...",
            help="Run directories, which are asked together; then files, folders, patterns, .tar, .ndjson[.gz], data "
            "sets, or - for a list of paths on the standard input.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write: .csv, .jsonl or .parquet.")] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, jsonl, parquet or submission. [default: by the suffix of --out]")
    ] = None,
    topk: Annotated[int | None, typer.Option(help="Classes of each input. [default: 5]")] = None,
    min_confidence: Annotated[float, typer.Option(help="Name those classes only that are at least so likely.")] = 0.0,
    split: Annotated[str | None, typer.Option(help="Of a converted data set; all of it otherwise.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Average with the mirror image; else as the recipe.")
    ] = None,
    invert: Annotated[
        str | None, typer.Option(help="no, yes, or auto: turn over what is light on dark; else as the data set.")
    ] = None,
    clean_photo: Annotated[
        bool | None, typer.Option("--clean-photo/--no-clean-photo", help="Clean photographs; else as the data set.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes; 0: one a core.")] = 0,
    header: Annotated[str, typer.Option(help="Of a submission; empty for none.")] = "id,label",
    id: Annotated[str, typer.Option(help="Of a submission: stem, name or path.")] = "stem",
    label: Annotated[str, typer.Option(help="Of a submission: name or index.")] = "name",
    sheet: Annotated[
        Path | None, typer.Option(help="Draw the least certain into this file: .png, .pdf or .svg.")
    ] = None,
    sort_into: Annotated[Path | None, typer.Option(help="Link each file into a folder a class.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy instead of linking.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was broken off.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Ask trained models what sketches show."""
    from fastsketch.errors import ConfigError
    from fastsketch.inference.inputs import check_inputs, find_inputs
    from fastsketch.inference.saved import SavedModel
    from fastsketch.inference.sorting import Sorter
    from fastsketch.inference.tables import Table
    from fastsketch.inference.writing import predict_into

    if resume and out is None:
        raise ConfigError("--resume goes on with a file", hint="name it with --out")
    submission = _submission(header, id, label)
    runs, named = _divided(arguments)
    models = [model.read_as(invert, clean_photo) for model in SavedModel.find_all(runs, checkpoint)]
    classes = len(models[0].classes)
    if topk is not None and not 1 <= topk <= classes:
        raise ConfigError(f"--topk {topk}: there are {classes:,} classes", hint=f"name a number from 1 to {classes:,}")
    table = Table.checked(out, format, topk or min(TOPK, classes), min_confidence, submission)
    check_inputs(named, [model.reading for model in models], split)
    least = _least_certain(models, sheet)
    sorter = Sorter(sort_into, copy=copy) if sort_into else None
    inputs = find_inputs(named, sys.stdin, split)
    options: dict[str, Any] = {"device": device, "workers": workers, "flip": flip}
    with PredictionDisplay(named, split, bar=out is not None) as display:

        def on_rows(answered: list[Answered]) -> None:
            for sample, row in answered:
                if sorter:
                    sorter.put(sample, row.above(min_confidence))
                if least:
                    least.offer(sample, row)
            display.advance(answered)

        if out is None:
            _print(table, models, inputs, on_rows, as_table=format is not None, options=options)
        else:
            try:
                predict_into(out, table, models, inputs, resume=resume, overwrite=overwrite, on_rows=on_rows, **options)
            except KeyboardInterrupt:
                with suppress(OSError):
                    errors.print(f"{display.rows:,} rows are kept: the same command with --resume goes on")
                raise
    _report(out, display)
    if sorter:
        errors.print(f"{sorter.files:,} files in the folders of {plain(sorter.folder)}", style="dim", soft_wrap=True)
    if least and sheet:
        _draw(sheet, least)


def _divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The leading arguments that are models, and the others."""
    from fastsketch.inference.saved import is_model

    count = next((place for place, each in enumerate(arguments) if not is_model(each)), len(arguments))
    return arguments[: max(count, 1)], arguments[max(count, 1) :]


def _submission(header: str, id: str, label: str) -> Submission:
    from fastsketch.errors import ConfigError
    from fastsketch.inference.tables import Submission

    names = tuple(name.strip() for name in header.split(",")) if header else None
    if names is not None and len(names) != 2:
        raise ConfigError(f"--header {header}: two names are wanted", hint='as in --header "id,label"')
    if id not in ("stem", "name", "path"):
        raise ConfigError(f"--id {id}", hint="stem, name or path")
    if label not in ("name", "index"):
        raise ConfigError(f"--label {label}", hint="name or index")
    return Submission(names, id, label)  # type: ignore[arg-type]


def _print(
    table: Table,
    models: list[SavedModel],
    inputs: Iterator[Input],
    on_rows: Callable[[list[Answered]], None],
    *,
    as_table: bool,
    options: dict[str, Any],
) -> None:
    """To the standard output: a table where it leads to a program or a file, lines for people in a terminal."""
    from fastsketch.inference.predict import predict

    write = table.writer(sys.stdout) if as_table or not sys.stdout.isatty() else _write_line(table.confidence)
    with closing(predict(models, inputs, topk=table.topk, **options)) as answered:
        for rows in answered:
            for _, row in rows:
                write(row)
            sys.stdout.flush()
            on_rows(rows)


def _write_line(confidence: float) -> Callable[[Row], object]:
    def write(row: Row) -> None:
        if row.error is None:
            sure = row.above(confidence)
            named = zip(sure.labels, sure.probabilities, strict=True)
            said = ", ".join(f"{plain(label)} {probability:.0%}" for label, probability in named) or "nothing likely"
            console.print(f"[bold]{plain(row.input)}[/]: {said}", soft_wrap=True)

    return write


def _least_certain(models: list[SavedModel], sheet: Path | None) -> LeastCertain | None:
    """What collects the sketches of the sheet, as the model with the largest images sees them."""
    if sheet is None:
        return None
    from fastsketch.figures.picture import check_picture
    from fastsketch.figures.predictions import MOST
    from fastsketch.inference.least_certain import LeastCertain

    check_picture(sheet)
    return LeastCertain(MOST, max((model.reading for model in models), key=lambda reading: reading.size))


def _draw(sheet: Path, least: LeastCertain) -> None:
    from fastsketch.figures.predictions import NamedSketch, draw_predictions

    sketches = [
        NamedSketch(image, os.path.basename(row.input), row.labels[0], row.probabilities[0])
        for image, row in least.read()
    ]
    chosen = "the least certain first" if len(sketches) == least.offered else f"the {len(sketches)} least certain"
    draw_predictions(sheet, sketches, f"{least.offered:,} sketches, {chosen}")
    errors.print(f"least certain: {plain(sheet)}", style="dim", soft_wrap=True)


def _report(out: Path | None, display: PredictionDisplay) -> None:
    from fastsketch.errors import DataError

    if not display.rows:
        raise DataError("there is no image in what was named", hint="files of other kinds than images are passed over")
    if display.unread == display.rows:
        raise DataError("not one of the inputs could be read")
    unread = f"{display.unread:,} of them could not be read" if display.unread else ""
    if out is not None:
        said = f"[bold]{plain(out)}[/]: {display.rows:,} rows"
        console.print(f"{said}, {unread}" if unread else said, soft_wrap=True)
    elif unread:
        errors.print(f"{display.rows:,} rows, {unread}", style="dim")
