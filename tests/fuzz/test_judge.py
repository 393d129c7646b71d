"""What the suite is there to see it sees: a product that is broken on purpose, in a fork each."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import zygote
from fuzz.case import Case, Result
from fuzz.suite import Worker

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the suite forks and waits as Linux does")


def _raises() -> None:
    raise KeyError("x")


def _reports() -> None:
    Path(os.environ["TMPDIR"], "fastsketch-bug-x.txt").write_text("Traceback\nKeyError: 1\n")
    sys.stderr.write("error: a bug in fastsketch ended: x\n")
    sys.exit(1)


def _talks() -> None:
    sys.stderr.write("error: 1\n2\n3\n4\n")
    sys.exit(1)


def _paints() -> None:
    print("\x1b[31mred")


def _fails_silently() -> None:
    sys.exit(1)


def _exits_otherwise() -> None:
    sys.exit(3)


def _hangs() -> None:
    time.sleep(60)


def _crashes() -> None:
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)


def _wants_memory() -> None:
    try:
        bytearray(3 << 30)
    except MemoryError:
        sys.stderr.write("error: memory does not suffice\n")
        sys.exit(1)


def _writes_outside() -> None:
    Path("../../outside").write_text("x")


def _executes() -> None:
    Path("../canary/executed").write_text("x")


def _loses_the_source() -> None:
    Path("source.png").unlink()


def _writes_beside() -> None:
    Path("stray").write_text("x")


BROKEN: dict[Callable[[], None], str] = {
    _raises: "Traceback",
    _reports: "an exception that nobody expected",
    _talks: "4 lines of error",
    _fails_silently: "failed without a word",
    _paints: "prints what a terminal obeys",
    _exits_otherwise: "exit code 3",
    _hangs: "hangs",
    _crashes: "killed by signal 11",
    _wants_memory: "wants more memory",
    _writes_outside: "touched the outside",
    _executes: "the canary is not as it was",
    _loses_the_source: "changed 'source.png'",
    _writes_beside: "changed 'stray'",
}


def judged(command: Callable[[], None], root: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A case of the worker, in which `command` is the whole product."""
    monkeypatch.setattr("fastsketch_cli.app.main", command)
    monkeypatch.setattr(zygote, "PATIENCE", 2)
    worker = object.__new__(Worker)  # without its templates
    worker.root, worker.templates = root, None  # type: ignore[assignment]

    def generate(rng: object, folder: Path, templates: object) -> Case:
        (folder / "source.png").write_bytes(b"x")
        return Case([["x"]])

    return worker.run("broken", 0, generate)


@pytest.mark.parametrize("command", BROKEN, ids=lambda command: command.__name__.strip("_"))
def test_what_is_wrong_is_seen(command: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = judged(command, tmp_path, monkeypatch).problems
    assert any(problem.startswith(BROKEN[command]) for problem in problems), problems


def _succeeds() -> None:
    Path("out").mkdir()
    Path("out/dataset.json").write_text("{}")


def _refuses() -> None:
    sys.stderr.write("a note\nerror: source.png is no image\n       mend it\n")
    sys.exit(2)


@pytest.mark.parametrize("command", [_succeeds, _refuses])
def test_what_is_right_passes(command: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(command, tmp_path, monkeypatch).problems == []
