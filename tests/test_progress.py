"""What is shown of a training, in a terminal and where there is none."""

from __future__ import annotations

import io
import logging
import re

import pytest

from fastsketch.progress import Console, Screen, TrainingDisplay, command_console, duration, notes, progress_bar
from fastsketch.recipes import load_recipe
from fastsketch.training.run.metrics import EpochRecord


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def record(epoch: int, val: float | None = 0.5) -> EpochRecord:
    return EpochRecord(epoch, epoch * 4, 0.1, 1.25, val, val, val, 2.0, 100.0)


def display(file: io.StringIO, seconds_a_step: float, **settings: object) -> TrainingDisplay:
    console = Console(file=file, highlight=False, width=100, _environ={"TERM": "xterm"})
    return TrainingDisplay(load_recipe(**settings), Screen(console, console), clock=Clock(seconds_a_step))


def shown(file: io.StringIO) -> str:
    """Without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_without_a_terminal_there_is_a_line_a_minute_and_one_an_epoch() -> None:
    file = io.StringIO()
    with display(file, 25.0, epochs=2) as training:
        for step in range(1, 7):
            training.on_loss(2.5)
            training.on_step(1, step, 6)
        training.on_epoch(record(1))
    lines = file.getvalue().splitlines()
    assert lines == [
        "epoch 1/2, step 3/6, loss 2.5000, 4 min left",
        "epoch 1/2, step 6/6, loss 2.5000, 2 min left",
        "epoch  train loss  val loss   top-1   top-5  images/s",
        "    1      1.2500    0.5000  50.00%  50.00%       100",
    ]


def test_short_epochs_have_a_line_each_and_no_more() -> None:
    file = io.StringIO()
    with display(file, 1.0, epochs=3) as training:
        for epoch in range(1, 4):
            for step in range(1, 30):
                training.on_step(epoch, step, 29)
            training.on_epoch(record(epoch, None))
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["epoch", "1", "2", "3"]


def test_a_terminal_sees_epochs_loss_and_time_left() -> None:
    file = Terminal()
    with display(file, 10.0, epochs=30) as training:
        training._bar.refresh()
        assert "preparing" in shown(file)
        assert "/" not in shown(file).partition("preparing")[2].split("0:00")[0]  # no `0/?`
        for step in range(1, 4):
            training.on_loss(1.5)
            training.on_step(2, step, 100)
        training._bar.refresh()
        said = shown(file)
        assert "epoch 2/30" in said
        assert "3/100" in said
        assert "loss 1.5000, 8.0 h left" in said  # of 2,897 steps of 10 seconds
        training.on_step(2, 100, 100)
        training._bar.refresh()
        assert "validating" in shown(file)


@pytest.mark.parametrize("settings", [{"data.train_split": "train+val"}, {"training.validate_every": 2}])
def test_without_validation_nothing_is_said_to_be_validated(settings: dict[str, object]) -> None:
    file = Terminal()
    with display(file, 10.0, **settings) as training:
        training.on_step(1, 8, 8)
        training._bar.refresh()
    assert "epoch 1/30" in shown(file)
    assert "validating" not in shown(file)


def test_lines_are_written_beside_the_bar_by_its_own_console() -> None:
    """Another console on the same terminal would tear it."""
    lines, bar = Terminal(), Terminal()
    screen = Screen(
        *(Console(file=file, highlight=False, width=100, _environ={"TERM": "xterm"}) for file in (lines, bar))
    )
    with TrainingDisplay(load_recipe(), screen) as training:
        training.on_epoch(record(1))
    assert lines.getvalue() == ""
    assert "1.2500" in bar.getvalue()
    redirected = io.StringIO()
    with TrainingDisplay(load_recipe(), Screen(Console(file=redirected, highlight=False), screen.bar)) as training:
        training.on_epoch(record(1))
    assert "1.2500" in redirected.getvalue()


def test_the_time_left_waits_for_a_second_step() -> None:
    file = io.StringIO()
    with display(file, 70.0, epochs=1) as training:
        training.on_step(1, 1, 10)
    assert file.getvalue() == "epoch 1/1, step 1/10\n"


def test_larger_images_take_longer() -> None:
    """After half of an epoch at 64 px, a tenth of a run of two whose second is at 128 px: by steps it is a quarter."""
    file = io.StringIO()
    with display(file, 25.0, **{"training.epochs": 2, "training.image_sizes": [64, 128]}) as training:
        for step in range(1, 4):
            training.on_step(1, step, 6)
    assert file.getvalue() == "epoch 1/2, step 3/6, 11 min left\n"  # two steps took 50 s, 27 such are left


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (100, "2 min"), (3600, "60 min"), (3 * 3600, "3.0 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with display(Gone(), 100.0) as training:
        training.on_step(1, 1, 2)
        training.on_epoch(record(1))


@pytest.mark.parametrize(("backend", "bar"), [("module://matplotlib_inline.backend_inline", False), ("agg", True)])
def test_a_command_in_a_cell_has_no_bar(monkeypatch: pytest.MonkeyPatch, backend: str, bar: bool) -> None:
    terminal = Terminal()  # a notebook gives one to a command
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.setenv("MPLBACKEND", backend)
    console = command_console(stderr=True)
    with progress_bar(Screen(console, console)) as progress:
        progress.add_task("working", total=3, note="")
        console.print("[bold]a line[/]")
    assert ("\x1b" in terminal.getvalue()) == bar


def test_notes_are_shown_within_and_only_within() -> None:
    file, logger = io.StringIO(), logging.getLogger("fastsketch.somewhere")
    before = logging.getLogger("fastsketch").level
    with notes(Screen(Console(file=file), Console(file=file))):
        logger.info("[1] and%s", " on one line" * 20)
    logger.info("later")
    assert file.getvalue() == f"[1] and{' on one line' * 20}\n"
    assert logging.getLogger("fastsketch").level == before


def test_nothing_is_shown_where_that_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen.of_python(False)
    with TrainingDisplay(load_recipe(), screen, clock=Clock(100)) as training:
        training.on_step(1, 1, 2)
        training.on_epoch(record(1))
    assert capsys.readouterr() == ("", "")
