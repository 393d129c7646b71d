"""Where a prediction keeps its rows until it is done: a kill at any instruction loses seconds, never a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from fastsketch.errors import ConfigError, DataError, FastSketchError, one_line
from fastsketch.inference.rows import Row
from fastsketch.training.run.saving import saving

SYNC_SECONDS = 2.0
"""What was written longer ago than so is on the disk."""


class RowJournal:
    """All rows so far, a line of JSON each, under a line that says what was asked; a torn last line counts for nothing.

    A context manager, which closes the file. The journal stays until `remove`.

    Args:
        path: The file.
        question: What decides the rows besides the inputs.
        resume: Go on with what is there.

    Attributes:
        done: Rows that are there.

    Raises:
        ConfigError: It is there and is not to be gone on with, or it is not there, or of another question.
        FastSketchError: It cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, question: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        if resume != path.is_file():
            raise ConfigError(
                f"{path} is not there to go on with" if resume else f"{path} is there, of a prediction broken off",
                hint="leave out --resume" if resume else "go on with --resume, or remove it",
            )
        with self._told():
            self._file = path.open("r+b" if resume else "xb")
            self._hold()
        self.done = 0
        if resume:
            self._go_on(question)
        else:
            self._write([question])
            self.sync()
        self._synced = monotonic()

    def __enter__(self) -> RowJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._file.close()
            return
        with suppress(OSError):  # told already by whatever came first
            self._file.close()

    def rows(self) -> Iterator[Row]:
        """All rows that are there.

        Raises:
            DataError: The file is damaged.
        """
        self.sync()
        with self.path.open("rb") as file:
            next(file, None)
            for line in file:
                try:
                    yield Row(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{self.path} is damaged", hint="remove it and begin anew") from error

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows down.

        Raises:
            FastSketchError: They cannot be written; those before them are whole.
        """
        self._write([row.as_dict() for row in rows])
        self.done += len(rows)
        if monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Put everything on the disk.

        Raises:
            FastSketchError: It cannot be written.
        """
        with self._told():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = monotonic()

    def remove(self) -> None:
        """Delete it: all that it held is elsewhere."""
        self.path.unlink()

    def _write(self, values: Sequence[Mapping[str, Any]]) -> None:
        with self._told():
            self._file.write("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode())

    def _go_on(self, question: Mapping[str, Any]) -> None:
        """Check that the same is asked, and cut off what is torn."""
        end = first = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if not first:
                first = len(line)
                self._check(line, question)
            else:
                self.done += 1
            end += len(line)
        if not first:
            raise ConfigError(f"{self.path} holds nothing to go on with", hint="remove it, and leave out --resume")
        with self._told():
            self._file.truncate(end)
            self._file.seek(end)

    def _check(self, line: bytes, question: Mapping[str, Any]) -> None:
        try:
            there = json.loads(line)
            differing = [key for key in question if there[key] != question[key]]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self.path} is not what a prediction left", hint="remove it, and leave out --resume"
            ) from error
        if differing:
            key = differing[0]
            before, now = one_line(there[key], 80), one_line(question[key], 80)
            raise ConfigError(
                f"{self.path} was begun with other {key} ({before}, now {now})",
                hint="go on with the same settings, or remove it and begin anew",
            )

    def _hold(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FastSketchError(
                f"another process is writing {self.path}", hint="wait until it is done, or choose another --out"
            ) from error

    def _told(self) -> AbstractContextManager[None]:
        return saving(self.path, hint="once that is mended, the same command with --resume goes on")
