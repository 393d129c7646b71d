"""Rows as the files that people take elsewhere: CSV, JSON lines, Parquet, and the submission of a competition."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from fastsketch import atomic
from fastsketch.errors import ConfigError
from fastsketch.inference.rows import Row
from fastsketch.optional import import_optional

FORMATS = ("csv", "jsonl", "parquet", "submission")

DIGITS = 6
"""Of probabilities in text."""

ROW_GROUP = 10_000
"""Rows of a Parquet file in memory at a time."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The form that a competition wants.

    Attributes:
        header: Names of the two columns; None for no line of them.
        id: What stands for an input: its whole path, its name, or its name without suffix.
        label: What stands for a class: its name, or its place in label order.
    """

    header: tuple[str, str] | None = ("id", "label")
    id: Literal["path", "name", "stem"] = "stem"
    label: Literal["name", "index"] = "name"

    def cells(self, row: Row) -> tuple[str, object]:
        """Of one input; the class of one that could not be read is empty."""
        path = Path(row.input)
        id = {"path": row.input, "name": path.name, "stem": path.stem}[self.id]
        return id, (row.labels if self.label == "name" else row.ids)[0] if row.labels else ""


@dataclass(frozen=True, slots=True)
class Table:
    """How rows are written.

    Attributes:
        format: One of `FORMATS`.
        topk: Classes a row.
        confidence: Of a class that is named, at least.
        submission: Of the format `submission`.
    """

    format: str = "csv"
    topk: int = 5
    confidence: float = 0.0
    submission: Submission = Submission()

    @classmethod
    def checked(cls, out: Path | None, format: str | None, topk: int, confidence: float, sub: Submission) -> Table:
        """The table for a file, whose suffix decides where no format is named.

        Raises:
            ConfigError: There is no such format, or it does not go with the rest.
            BackendMissing: Parquet is wanted and pyarrow is not installed.
        """
        if format is None:
            format = "csv" if out is None else out.suffix.removeprefix(".")
        if format not in FORMATS:
            raise ConfigError(
                f"no format '{format}'", hint=f"there are: {', '.join(FORMATS)}; --out x.csv decides, too"
            )
        if not 0 <= confidence <= 1:
            raise ConfigError(f"a confidence of {confidence:g}", hint="it lies between 0 and 1")
        if format == "submission" and confidence:
            raise ConfigError("a submission names a class of each input", hint="leave out --min-confidence")
        if format == "parquet":
            if out is None:
                raise ConfigError("Parquet goes into a file", hint="name it: --out x.parquet")
            _pyarrow()
        return cls(format, topk, confidence, sub)

    def write(self, path: Path, rows: Iterable[Row]) -> None:
        """Write all rows to `path`, atomically; no more than some thousands are in memory."""
        with atomic.replacing(path) as temporary:
            if self.format == "parquet":
                self._write_parquet(temporary, rows)
                return
            with temporary.open("w", encoding="utf-8", newline="") as file:
                write = self.writer(file)
                for row in rows:
                    write(row)

    def writer(self, file: TextIO) -> Callable[[Row], object]:
        """What writes a row to an open file, whose first line is written at once where the format has one."""
        if self.format == "jsonl":
            return lambda row: file.write(json.dumps(self._chosen(row).as_dict(), ensure_ascii=False) + "\n")
        lines = csv.writer(file, lineterminator="\n")
        if self.format == "submission":
            if self.submission.header:
                lines.writerow(self.submission.header)
            return lambda row: lines.writerow(self.submission.cells(row))
        lines.writerow(self.columns)
        return lambda row: lines.writerow(self._cells(row))

    @property
    def columns(self) -> list[str]:
        """Of a CSV or Parquet file: `input`, `label`, `probability`, `label_2`, `probability_2`, …, `error`."""
        ranks = ["", *(f"_{rank}" for rank in range(2, self.topk + 1))]
        return ["input", *(f"{name}{rank}" for rank in ranks for name in ("label", "probability")), "error"]

    def _chosen(self, row: Row) -> Row:
        row = row.above(self.confidence)
        return row._replace(probabilities=[round(each, DIGITS) for each in row.probabilities])

    def _cells(self, row: Row) -> list[Any]:
        row = self._chosen(row)
        named = [cell for pair in zip(row.labels, row.probabilities, strict=True) for cell in pair]
        return [row.input, *named, *[None] * (2 * self.topk - len(named)), row.error]

    def _write_parquet(self, path: Path, rows: Iterable[Row]) -> None:
        arrow, parquet = _pyarrow()
        kinds = {"p": arrow.float32()}
        schema = arrow.schema([(name, kinds.get(name[0], arrow.string())) for name in self.columns])
        with parquet.ParquetWriter(path, schema) as writer:
            for group in _groups(rows):
                columns = zip(*map(self._cells, group), strict=True)
                arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    remaining = iter(rows)
    return iter(lambda: list(islice(remaining, ROW_GROUP)), [])


def _pyarrow() -> tuple[Any, Any]:
    return import_optional("pyarrow", "pyarrow", "parquet"), import_optional("pyarrow.parquet", "pyarrow", "parquet")
