"""What `fastsketch predict` shows of its work: rate and time left, and what could not be read."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from .console import errors, plain, progress_bar

if TYPE_CHECKING:
    from fastsketch.inference.writing import Answered

MOST_UNREAD = 10
"""So many inputs that could not be read are named; all of them have a row."""


class PredictionDisplay:
    """A context manager around a prediction, told of its rows.

    Args:
        arguments: The inputs, which are counted meanwhile: a large folder is not waited for.
        split: Of data sets.
        bar: Whether there is to be a bar, in a terminal where nothing else is printed.

    Attributes:
        rows: All so far.
        unread: Those of inputs that could not be read.
    """

    def __init__(self, arguments: list[str], split: str | None, *, bar: bool) -> None:
        self.rows = self.unread = 0
        self._arguments, self._split = arguments, split
        self._bar = progress_bar()
        self._bar.disable = self._bar.disable or not bar
        self._task = self._bar.add_task("predicting", total=None, note="")
        self._began: tuple[float, int] | None = None
        self._total: int | None = None

    def __enter__(self) -> PredictionDisplay:
        if not self._bar.disable:
            threading.Thread(target=self._count, daemon=True).start()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # that the terminal is gone hides no other end
            self._bar.stop()

    def advance(self, answered: list[Answered]) -> None:
        """Count some rows, and name what could not be read."""
        for _, row in answered:
            if row.error is not None:
                self.unread += 1
                if self.unread <= MOST_UNREAD:
                    console = errors if self._bar.disable else self._bar.console
                    console.print(f"{plain(row.input)}: {plain(row.error)}", style="dim", soft_wrap=True)
        self.rows += len(answered)
        if not self._bar.disable:
            self._bar.update(self._task, completed=self.rows, total=self._total, note=self._note())

    def _note(self) -> str:
        """Rate and time left, from the second call on: the first waits for the model."""
        from fastsketch.progress import duration

        now = monotonic()
        if self._began is None:
            self._began = now, self.rows
            return ""
        began, first = self._began
        rate = (self.rows - first) / (now - began)
        left = "" if self._total is None else f", {duration(max(self._total - self.rows, 0) / rate)} left"
        return f"{rate:,.0f}/s{left}"

    def _count(self) -> None:
        from fastsketch.errors import FastSketchError
        from fastsketch.inference.inputs import count_inputs

        with suppress(FastSketchError, OSError):  # the prediction itself tells
            self._total = count_inputs(self._arguments, self._split)
