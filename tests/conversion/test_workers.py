"""Worker processes that cannot start, and those that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import PIPE

import pytest
from _pytest.mark import ParameterSet
from converting import changed, die

from fastsketch import workers
from fastsketch.conversion import convert, convert_dataset
from fastsketch.errors import FastSketchError
from fastsketch.sources import open_source

UNGUARDED = """
import sys
from pathlib import Path
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.errors import FastSketchError
from fastsketch.sources import open_source

config = ConvertConfig(size=24, split="12/4/2", workers=int(sys.argv[3]))
try:
    print(len(convert_dataset(open_source(Path(sys.argv[1])), Path(sys.argv[2]), config).classes))
except FastSketchError as error:
    sys.exit(f"{error.message}: {error.hint}")
"""


def test_13_a_script_without_a_guard_is_told_what_to_do(shapes: Path, tmp_path: Path) -> None:
    """Finding 13: it was told that a process was killed, most likely for want of memory, below two tracebacks."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)

    def run(workers: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(shapes), str(tmp_path / "out"), str(workers)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    failed = run(2)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "memory" not in failed.stderr
    lines = failed.stderr.splitlines()
    assert f"no decoding process could start: {convert.UNGUARDED}" in lines
    assert all('under `if __name__ == "__main__":`, or with workers=1' in line for line in lines)
    assert run(1).stdout == "3\n"


def test_a_worker_that_is_killed_is_still_told_as_that(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_decode_chunk", die)
    with pytest.raises(FastSketchError, match="a decoding process was killed, most likely for want of memory"):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(workers=2))


GROUP = """
import os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
from fastsketch import workers

number, moment, delay, thread = signal.Signals[sys.argv[1]], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
submit = ProcessPoolExecutor.submit
submitted = 0

def signalling(self, task, *arguments):
    global submitted
    future = submit(self, task, *arguments)
    submitted += 1
    if submitted == moment:
        time.sleep(delay)
        os.killpg(0, number)
    return future

class Terminated(KeyboardInterrupt):
    pass

def terminate(number, frame):
    raise Terminated

def say(word):
    os.write(1, f"{word}\\n".encode())

def use():
    with workers.process_pool(3) as pool:
        say("entered")
        for future in [pool.submit(time.sleep, 0.05) for _ in range(20)]:
            future.result()
    say("done")
    finished.set()

finished = threading.Event()  # a join that is interrupted takes the thread for ended, in Python 3.11

if __name__ != "__main__":
    time.sleep(0.3)  # a worker, which imports this file

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminate)
    ProcessPoolExecutor.submit = signalling
    try:
        if thread == "main":
            use()
        else:
            threading.Thread(target=use).start()
            while not finished.wait(0.05):
                pass
    except KeyboardInterrupt as error:
        say(type(error).__name__)
        if thread == "another":
            finished.wait(30)
"""
"""A signal to the whole group, so long after the n-th task; three tasks start the three processes."""


DUMPING = {**os.environ, "PYTHONFAULTHANDLER": "1"}
"""Where it hangs, SIGABRT tells."""


def in_a_group(script: Path, *arguments: object) -> tuple[list[str], str, int]:
    """Run a script as the leader of a process group; nothing of the group may be left after it."""
    command = [sys.executable, str(script), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True, env=DUMPING)
    try:
        out, errors = process.communicate(timeout=60)  # which waits for the workers, too: they hold the pipes
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"it hangs: {process.communicate(timeout=60)[1]}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return out.splitlines(), errors, process.returncode


def in_turn(*moments: tuple[object, ...]) -> list[ParameterSet]:
    """Every moment with one of the two signals, in turn; with the other one it is a slow test."""
    return [
        pytest.param(number, *moment, marks=[pytest.mark.slow] if (place + turn) % 2 else [])
        for place, moment in enumerate(moments)
        for turn, number in enumerate(("SIGINT", "SIGTERM"))
    ]


@pytest.mark.parametrize(
    ("number", "moment", "delay"),
    in_turn((1, 0), (1, 0.2), (2, 0), (3, 0), (3, 0.2), (3, 1), (4, 0), (10, 0), (23, 0), (23, 0.5)),
)
def test_a_signal_to_the_whole_group_is_the_parents(tmp_path: Path, number: str, moment: int, delay: float) -> None:
    """Terminals and schedulers send it to workers as well: no traceback of theirs, no pool that waits for ever."""
    (tmp_path / "script.py").write_text(GROUP)
    out, errors, code = in_a_group(tmp_path / "script.py", number, moment, delay, "main")
    told = {"SIGINT": "KeyboardInterrupt", "SIGTERM": "Terminated"}[number]
    assert (out, errors, code) == ([told] if moment <= 3 else ["entered", told], "", 0)


@pytest.mark.parametrize(("number", "moment", "delay"), in_turn((1, 0), (2, 0.2), (3, 1), (10, 0)))
def test_the_workers_of_another_thread_are_spared_too(tmp_path: Path, number: str, moment: int, delay: float) -> None:
    """Signals are the main thread's: the pool of another goes on to its end."""
    (tmp_path / "script.py").write_text(GROUP)
    out, errors, code = in_a_group(tmp_path / "script.py", number, moment, delay, "another")
    told = {"SIGINT": "KeyboardInterrupt", "SIGTERM": "Terminated"}[number]
    assert (sorted(out), errors, code) == (sorted(["entered", "done", told]), "", 0)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, draw_shapes: Callable[..., Path]) -> Path:
    """Sketches for more tasks than there are workers."""
    return draw_shapes(tmp_path_factory.mktemp("many") / "in", per_class=200)


@pytest.mark.parametrize(("number", "moment"), in_turn((1,), (2,), (3,), (4,), (6,), (8,)))
def test_a_conversion_in_a_group_ends_with_a_word(many: Path, tmp_path: Path, number: str, moment: int) -> None:
    """And the same command continues it."""
    word, code = {"SIGINT": ("interrupted", 130), "SIGTERM": ("terminated", 143)}[number]
    (tmp_path / "script.py").write_text(COMMAND)
    command = ["convert", str(many), str(tmp_path / "out"), "--size", "24", "--workers", "3"]
    _, errors, ended = in_a_group(tmp_path / "script.py", number, moment, *command)
    assert (errors.splitlines()[-1], ended) == (word, code)
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()
    assert subprocess.run([sys.executable, "-m", "fastsketch", *command], capture_output=True).returncode == 0


COMMAND = """
import os, signal, sys
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    number, moment = signal.Signals[sys.argv.pop(1)], int(sys.argv.pop(1))
    submit = ProcessPoolExecutor.submit
    submitted = 0

    def signalling(self, task, *arguments):
        global submitted
        future = submit(self, task, *arguments)
        submitted += 1
        if submitted == moment:
            os.killpg(0, number)
        return future

    ProcessPoolExecutor.submit = signalling
    from fastsketch_cli.app import main

    main()
"""


def test_a_worker_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    running: list[BaseProcess] = []

    def fail() -> None:
        with workers.process_pool(2) as pool:
            task = pool.submit(time.sleep, 600)
            while not task.running():  # until then it is cancelled
                time.sleep(0.01)
            running.extend(pool._processes.values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for process in running:
        ended = time.monotonic() + 20
        while process.exitcode is None and time.monotonic() < ended:  # the pool's own thread may be waiting for it, too
            time.sleep(0.01)
        assert process.exitcode is not None
    assert -signal.SIGKILL in {process.exitcode for process in running}


def test_all_workers_start_while_signals_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was idle before the next was asked for took its task, and the next was started later, unprotected."""
    submit = ProcessPoolExecutor.submit

    def slowly(pool: ProcessPoolExecutor, task: Callable[[], int]) -> Future[int]:
        future = submit(pool, task)
        wait([future], timeout=1)  # as long as a process takes to start and to become idle
        return future

    with monkeypatch.context() as patch:
        patch.setattr(ProcessPoolExecutor, "submit", slowly)
        block = workers.process_pool(2)
        pool = block.__enter__()
    assert len(pool._processes) == 2
    block.__exit__(None, None, None)


@dataclass
class Pending:
    """A task that is done when it is asked for, unless it fails."""

    task: int
    cancelled: list[int]
    fails: bool

    def result(self) -> int:
        if self.fails:
            raise ZeroDivisionError
        return self.task * 10

    def cancel(self) -> None:
        self.cancelled.append(self.task)


@pytest.mark.parametrize("end", range(8))
@pytest.mark.parametrize("fails", [False, True])
def test_in_order_a_bounded_number_ahead_and_nothing_is_left_under_way(end: int, fails: bool) -> None:
    """Whether a task fails, or nobody asks for its result any more."""
    submitted: list[int] = []
    cancelled: list[int] = []

    def submit(task: int) -> Pending:
        submitted.append(task)
        return Pending(task, cancelled, fails and task == end)

    results = workers.in_order(submit, ((str(task), task) for task in range(7)), lambda: 2)
    for task in range(min(end, 7)):
        assert next(results) == (str(task), task * 10)
        assert submitted == list(range(min(task + 3, 7)))
    if fails and end < 7:
        with pytest.raises(ZeroDivisionError):
            next(results)
    elif end == 7:
        assert list(results) == []
    results.close()
    assert cancelled == submitted[end:]


def test_a_window_that_shrinks_is_emptied_first() -> None:
    submitted: list[int] = []

    def submit(task: int) -> Pending:
        submitted.append(task)
        return Pending(task, [], False)

    window = 5
    results = workers.in_order(submit, ((task, task) for task in range(20)), lambda: window)
    next(results)
    assert len(submitted) == 6
    window = 1
    for _ in range(4):
        next(results)
    assert len(submitted) == 6
    assert [key for key, _ in results] == list(range(5, 20))
