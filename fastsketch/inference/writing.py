"""A prediction of any length into one file, which can be broken off anywhere and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.inference.inputs import Input
from fastsketch.inference.predict import predict
from fastsketch.inference.row_journal import RowJournal
from fastsketch.inference.rows import Row
from fastsketch.inference.saved import SavedModel
from fastsketch.inference.tables import Table

Answered = tuple[Input, Row]


def partial_path(out: Path) -> Path:
    """Where the rows are until all are there."""
    return out.with_name(f"{out.name}.partial")


def predict_into(
    out: Path,
    table: Table,
    models: Sequence[SavedModel],
    inputs: Iterable[Input],
    *,
    resume: bool = False,
    overwrite: bool = False,
    flip: bool | None = None,
    on_rows: Callable[[list[Answered]], object] | None = None,
    **options: Any,
) -> int:
    """Write what models say of all inputs to `out`.

    The rows are in `<out>.partial` until all of them are there. If it is broken off, the same with `resume` goes on
    after the last of them.

    Args:
        out: The file.
        table: Its form.
        models: See `predict`.
        inputs: Likewise; with `resume` the same ones in the same order.
        resume: Go on with what was broken off.
        overwrite: Replace `out` if it is there.
        flip: See `predict`.
        on_rows: Told of all inputs with their rows, those of before included.
        options: The others of `predict`.

    Returns:
        The number of rows.

    Raises:
        ConfigError: `out` is there, or there is nothing to go on with, or that is of other models, settings or inputs.
        DataError: A model is damaged.
        FastSketchError: The disk is full, another process is at it, or a decoding process was killed.
    """
    if out.is_dir() or (out.exists() and not overwrite):
        hint = "choose another --out" if out.is_dir() else "choose another --out, or replace it with --overwrite"
        raise ConfigError(f"{out} is there already", hint=hint)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out.parent} is no folder and cannot be made one: {error.strerror}") from error
    remaining, told = iter(inputs), on_rows or (lambda rows: None)
    with RowJournal(partial_path(out), _question(models, table.topk, flip), resume=resume) as journal:
        for answered in _passed(journal, remaining):
            told([answered])
        with closing(predict(models, remaining, topk=table.topk, flip=flip, **options)) as chunks:
            for chunk in chunks:
                journal.append([row for _, row in chunk])
                told(chunk)
        try:
            table.write(out, journal.rows())
        except OSError as error:
            raise FastSketchError(
                f"{error.filename or out}: {error.strerror or error}",
                hint="once that is mended, the same command with --resume goes on",
            ) from error
        journal.remove()
        return journal.done


def _question(models: Sequence[SavedModel], topk: int, flip: bool | None) -> dict[str, Any]:
    """What decides the rows besides the inputs."""
    weights = [model.identity() for model in models]
    return {
        "models": weights,
        "temperatures": [model.temperature for model in models],
        "readings": [list(model.reading) for model in models],
        "topk": topk,
        "flip": flip,
    }


def _passed(journal: RowJournal, inputs: Iterator[Input]) -> Iterator[Answered]:
    """The inputs whose rows are there already, with these.

    Raises:
        ConfigError: They are not the same ones.
    """
    for number, row in enumerate(journal.rows(), start=1):
        sample = next(inputs, None)
        if sample is None or sample.id != row.input:
            now = "there are no more" if sample is None else f"it is {sample.id}"
            raise ConfigError(
                f"the inputs are not those of {journal.path}: number {number:,} was {row.input}, now {now}",
                hint="name the same ones in the same order, or remove it and begin anew",
            )
        yield sample, row
