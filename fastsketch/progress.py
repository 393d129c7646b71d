"""What people see of long work, the same from the command as from Python: in a terminal, a notebook, a pipe or a file.

A bar appears only where something can change in its place. What stays is a line: an epoch's, and without a bar one
a minute besides.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import console as rich_console
from rich.console import RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from fastsketch.errors import one_line
from fastsketch.training.progressive_resize import image_size_at

if TYPE_CHECKING:
    from fastsketch.config import Recipe
    from fastsketch.training.run.metrics import EpochRecord

LINE_SECONDS = 60.0
"""Without a bar, nobody waits longer than so for a sign."""

BAR_SECONDS = 0.1
NOTEBOOK_SECONDS = 0.25
"""Between two pictures of a bar, at least."""


class Console(rich_console.Console):
    """rich's, which would end the process where nobody reads any more."""

    def on_broken_pipe(self) -> None:
        """Raise what it was.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


class Screen(NamedTuple):
    """Where work is shown.

    Attributes:
        lines: What stays.
        bar: What changes in its place.
        hidden: No bar, whatever `bar` is.
    """

    lines: Console
    bar: Console
    hidden: bool = False

    @classmethod
    def of_python(cls, shown: bool) -> Screen:
        """The standard output, or the notebook; nothing where that is not wanted."""
        console = Console(highlight=False, quiet=not shown)
        return cls(console, console, hidden=not shown)


def command_console(*, stderr: bool = False) -> Console:
    """Where a command prints: plainly, unless in a terminal that obeys."""
    return Console(stderr=stderr, highlight=False, force_terminal=False if _in_cell() else None)


def _in_cell() -> bool:
    """Whether this is a command in a notebook's cell: `!` gives it a terminal, but nothing there obeys it."""
    return "inline" in os.environ.get("MPLBACKEND", "")  # which a notebook's kernel leaves to what it starts


def plain(name: object, limit: int | None = None) -> str:
    """A name that somebody else chose, as text for rich: no markup, nothing that a terminal obeys, on one line."""
    return escape(one_line(name, limit))


@contextmanager
def notes(screen: Screen) -> Iterator[None]:
    """Within this, what the library logs is shown, a line each."""
    logger, handler = logging.getLogger("fastsketch"), _Notes(screen.bar)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._console.print(record.getMessage(), style="dim", markup=False, soft_wrap=True)


# -------------------------------------------------------------------------------------------------------------- bars


def progress_bar(screen: Screen) -> Progress:
    """A bar that vanishes when it is done, and never appears where nobody looks.

    Its tasks have a `note`, and as `total` None as long as that is not known.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    if screen.bar.is_jupyter:
        return _NotebookBar(*columns, console=screen.bar, auto_refresh=False, disable=screen.hidden)
    changes = screen.bar.is_terminal and screen.bar.file.isatty() and not screen.bar.is_dumb_terminal
    return _Bar(*columns, console=screen.bar, transient=True, disable=screen.hidden or not changes)


class _Bar(Progress):
    """One that leaves nothing behind where it is not shown: rich before 14.3 ends even a disabled one with a line."""

    def stop(self) -> None:
        if not self.disable:
            super().stop()


class _Count(ProgressColumn):
    """Done and all, as soon as both are known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}")


class _NotebookBar(Progress):
    """A bar in a notebook's output, drawn anew in its place: rich's own needs a widget, which not all have."""

    _handle: Any = None
    _drawn = 0.0

    def start(self) -> None:
        if not self.disable:
            from IPython.display import display

            self._handle = display(self._picture(), display_id=True)  # type: ignore[no-untyped-call]

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self._handle is not None and monotonic() - self._drawn >= NOTEBOOK_SECONDS:
            self._handle.update(self._picture())
            self._drawn = monotonic()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.update(Text(""))
            self._handle = None

    def _picture(self) -> RenderableType:
        return self.make_tasks_table(self.tasks)


# ---------------------------------------------------------------------------------------------------------- training


class TrainingDisplay:
    """What is shown of a training; its methods are the callbacks of `fit`. A context manager, around `fit`.

    Where its terminal or pipe is gone it falls silent: no training ends because of that.

    Args:
        recipe: Of the training.
        screen: Where.
        clock: In seconds.
    """

    def __init__(self, recipe: Recipe, screen: Screen, clock: Callable[[], float] = monotonic) -> None:
        self._training = recipe.training
        self._validates = recipe.data.train_split == "train"
        self._clock = clock
        self._bar = progress_bar(screen)
        self._task = self._bar.add_task("preparing", total=None, note="")
        # Beside a bar on the same terminal only its own console can write without tearing it.
        beside = not self._bar.disable and screen.lines.is_terminal
        self._lines: Console | None = screen.bar if beside else screen.lines
        self._loss: float | None = None
        self._began: tuple[float, float] | None = None
        self._work_before = _work_before_epochs(recipe.training.epochs, recipe.training.image_sizes)
        self._shown = self._told = clock()
        self._headed = False

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # that the terminal is gone hides no other end of the training
            self._bar.stop()

    def on_loss(self, loss: float) -> None:
        """Remember the mean training loss of the epoch so far."""
        self._loss = loss

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Show how far it is."""
        now, before = self._clock(), self._work_before
        done = before[epoch - 1] + (before[epoch] - before[epoch - 1]) * step / steps
        if self._began is None:
            self._began = now, done
        epochs = self._training.epochs
        if not self._bar.disable and (now - self._shown >= BAR_SECONDS or step == steps):
            self._shown = now
            validating = step == steps and self._validates and self._training.validates(epoch)
            self._bar.update(
                self._task,
                description=f"epoch {epoch}/{epochs}",
                completed=step,
                total=steps,
                note=", ".join(["validating"] if validating else self._standing(now, done)),
            )
        elif self._bar.disable and now - self._told >= LINE_SECONDS:
            self._told = now
            standing = self._standing(now, done)
            self._say(", ".join([f"epoch {epoch}/{epochs}", f"step {step:,}/{steps:,}", *standing]), style="dim")

    def on_epoch(self, record: EpochRecord) -> None:
        """Print a line, the first with a header above it."""
        if not self._headed:
            self._say("epoch  train loss  val loss   top-1   top-5  images/s", style="dim")
            self._headed = True
        val = f"{'-':>8}  {'-':>6}  {'-':>6}"
        if record.val_loss is not None:
            val = f"{record.val_loss:8.4f}  {record.val_top1:6.2%}  {record.val_top5:6.2%}"
        self._say(f"{record.epoch:5d}  {record.train_loss:10.4f}  {val}  {record.images_per_second:8,.0f}")
        self._loss, self._told = None, self._clock()

    def _standing(self, now: float, done: float) -> list[str]:
        """The loss and the time left, by what the work so far took, validation included: as far as they are known."""
        standing = [] if self._loss is None else [f"loss {self._loss:.4f}"]
        assert self._began is not None
        began, first = self._began
        if done > first:
            standing.append(f"{duration((now - began) / (done - first) * (self._work_before[-1] - done))} left")
        return standing

    def _say(self, text: str, style: str | None = None) -> None:
        if self._lines is not None:
            try:
                self._lines.print(text, style=style)
            except OSError:
                self._lines = None


def _work_before_epochs(epochs: int, image_sizes: Sequence[int]) -> list[int]:
    """The work before each epoch, and at last that of all, in pixels of an image.

    A step takes as long as its images are large: 593 ms at 128 px and 1,347 at 192, 2.27 times for 2.25 (EfficientNet
    on two CPU cores). By steps alone a run that begins small has a third of the time left that it takes.
    """
    sides = (image_size_at(epoch, epochs, image_sizes, 1) for epoch in range(epochs))
    return [0, *accumulate(side**2 for side in sides)]


def duration(seconds: float) -> str:
    """About so long, in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
