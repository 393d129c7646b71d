"""Crash points, enumerated: a command is disturbed at the n-th change that it makes, for every n, or a share of them.

A scenario is a folder, a command that runs in it, and what an undisturbed run leaves there. After each disturbance
nothing half-made may be visible, and the same command must end in the undisturbed run's very files, no more, no less.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from signal import SIGKILL
from typing import Any

from crash.state import RANDOM, State, differences, half_made, key_of, state_of

ZYGOTE = Path(__file__).with_name("zygote.py")

MOST_LINES = 3
"""Of an error's report."""

MOST_FINDINGS = int(os.environ.get("MOST_FINDINGS", "12"))
"""So many are shown."""


Keep = Callable[[list[str]], Iterable[int]]
"""Chooses among a command's points, counted from 0."""


def every(points: list[str]) -> Iterable[int]:
    """All of them."""
    return range(len(points))


def first_of_each(points: list[str]) -> list[int]:
    """The first point of each kind: another file, or something else done to it; for when every point takes too long."""
    kinds: dict[str, int] = {}
    for index, point in enumerate(points):
        kinds.setdefault(RANDOM.sub(r"\1", point), index)
    return list(kinds.values())


def share(step: int, among: Keep = every) -> Keep:
    """Every `step`-th, and besides so many that all that is done is among them, and every file that it is done to."""

    def keep(points: list[str]) -> list[int]:
        candidates = list(among(points))
        kept, seen = candidates[::step], set[str]()
        for index in (*kept, *candidates):
            words = set(RANDOM.sub(r"\1", points[index]).split())
            if not words <= seen:
                seen |= words
                kept.append(index)
        return sorted(set(kept))

    return keep


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: The exit code; negative: the signal that ended it.
        errors: What it wrote to standard error.
        points: The changes that were counted, a line each.
    """

    code: int
    errors: str
    points: list[str]


class Zygote:
    """The process that forks the commands (see `zygote.py`), and what it is asked.

    Args:
        scratch: Where its files go.
        faults: `faults.c` compiled.
        modules: What the commands need.
    """

    def __init__(self, scratch: Path, faults: Path | None, modules: Sequence[str]) -> None:
        self.scratch = scratch
        environment = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "200"}
        environment["PATH"] = ""  # without git, which takes longer than all the rest
        if faults is not None:
            environment["LD_PRELOAD"] = str(faults)
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def run(self, **request: Any) -> Outcome:
        """Run a command, disturbed as the request says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        files = {name: str(self.scratch / name) for name in ("stdout", "stderr", "log")}
        Path(files["log"]).write_text("")
        self._process.stdin.write(json.dumps({**request, **files}) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        errors, log = (Path(files[name]).read_text("utf-8", errors="replace") for name in ("stderr", "log"))
        return Outcome(reply["code"], errors, log.splitlines())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


@dataclass(frozen=True)
class Disturbance:
    """What happens at a point.

    Attributes:
        instrument: `events` (Python's audit events) or `calls` (the C library's).
        error: 0 kills the process; else that error is reported to it: ENOSPC from then on, others once.
    """

    instrument: str = "events"
    error: int = 0

    def __str__(self) -> str:
        return f"{errno.errorcode[self.error] if self.error else 'killed'} at {self.instrument}"


KILLED = Disturbance()
KILLED_IN_A_CALL = Disturbance("calls")
FULL_DISK = Disturbance("calls", errno.ENOSPC)
BROKEN_DISK = Disturbance("calls", errno.EIO)


@dataclass
class Findings:
    """What an enumeration came to.

    Attributes:
        points: How many there are.
        tried: At how many of them the command was disturbed.
        states: In how many different ways that left the folder.
        lines: All that is wrong.
    """

    points: int
    tried: int = 0
    states: int = 0
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.points} points, {self.tried} tried, {self.states} states, {len(self.lines)} findings"

    def check(self, command: str, *, least: int) -> None:
        """Print the figures under a command's name; make sure that enough was tried, and that nothing was wrong."""
        print(f"{command}: {self}")
        assert self.tried >= least, "too few points for a harness that counts them all"
        assert not self.lines, "\n".join([f"{len(self.lines)} findings", *self.lines[:MOST_FINDINGS]])


@dataclass
class Scenario:
    """A command, and the folder in which it runs.

    Attributes:
        zygote: What runs it.
        folder: Where it runs; made anew for every run.
        before: What the folder holds before: copied.
        arguments: The command line.
        settings: Module attributes that bring a small input to a large one's points, such as a chunk's samples.
        refusal: What the same command may say, and fail, where it has nothing left to do.
    """

    zygote: Zygote
    folder: Path
    before: Path
    arguments: Sequence[str]
    settings: dict[str, Any] = field(default_factory=dict)
    refusal: str | None = None
    _recovered: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def expected(self) -> State:
        """What an undisturbed run leaves."""
        self.restore()
        outcome = self.run()
        assert outcome.code == 0, outcome.errors
        return state_of(self.folder)

    def restore(self) -> None:
        """Make the folder what it was before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.before, self.folder)

    def run(self, disturbance: Disturbance = KILLED, at: int = 0, copies: Path | None = None) -> Outcome:
        """The command, disturbed at a point, if `at` is one."""
        return self.zygote.run(
            folder=str(self.folder),
            arguments=list(self.arguments),
            settings=self.settings,
            instrument=disturbance.instrument,
            at=at,
            errno=disturbance.error,
            copies=copies and str(copies),
        )

    def disturb(self, disturbance: Disturbance, keep: Keep = every) -> Findings:
        """Disturb the command at every point that it comes to and look at what is left.

        Args:
            disturbance: What happens at each point.
            keep: Chooses among the points of an undisturbed run.
        """
        assert self.expected
        self.restore()
        points = self.run(disturbance).points
        findings, known = Findings(len(points)), len(self._recovered)
        for index in keep(points):
            self.restore()
            outcome = self.run(disturbance, index + 1)
            problems = [*self._badly_ended(disturbance, outcome), *self._aftermath()]
            findings.lines += [f"{disturbance} {index + 1}, {points[index]}: {problem}" for problem in problems]
            findings.tried += 1
        findings.states = len(self._recovered) - known
        return findings

    def photograph(self, keep: Keep = every) -> Findings:
        """As `disturb(KILLED)`, from copies of the folder at every point of a single run: what a kill would leave.

        That it would is what `literally` is for.
        """
        assert self.expected
        copies = list(self._copies())
        findings = Findings(len(copies))
        for number, point, copy in (copies[index] for index in keep([point for _, point, _ in copies])):
            shutil.rmtree(self.folder, ignore_errors=True)
            copy.rename(self.folder)
            findings.lines += [f"a kill at event {number}, {point}: {problem}" for problem in self._aftermath()]
            findings.tried += 1
        findings.states = len(self._recovered)
        return findings

    def literally(self, step: int) -> int:
        """Make sure that a kill at every `step`-th event leaves what the copies show; return how many were compared."""
        copies = [(number, point, key_of(state_of(copy))) for number, point, copy in self._copies()][::step]
        for number, point, key in copies:
            self.restore()
            outcome = self.run(KILLED, number)
            assert outcome.code == -SIGKILL, outcome.errors
            assert key_of(state_of(self.folder)) == key, f"killed at event {number}, {point}"
        return len(copies)

    def interrupt(self, point: str, occurrence: int = 1) -> None:
        """Leave the folder as a kill at a point does that matches `point`."""
        self.restore()
        matching = [number for number, each in enumerate(self.run().points, 1) if re.search(point, each)]
        self.restore()
        assert self.run(KILLED, matching[occurrence - 1]).code == -SIGKILL

    def _copies(self) -> Iterator[tuple[int, str, Path]]:
        folder = self.zygote.scratch / "copies"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.restore()
        outcome = self.run(copies=folder)
        assert outcome.code == 0, outcome.errors
        for number, point in enumerate(outcome.points, 1):
            yield number, point, folder / str(number)

    def _aftermath(self) -> list[str]:
        """What is wrong with what the folder holds now, and after the same command again."""
        key = key_of(state_of(self.folder))
        if key not in self._recovered:
            self._recovered[key] = [*half_made(self.folder), *self._after_the_same_command()]
        return self._recovered[key]

    def _after_the_same_command(self) -> Iterator[str]:
        outcome = self.run()
        refused = self.refusal is not None and self.refusal in outcome.errors
        if outcome.code != 0 and not refused:
            yield f"the same command ends with {outcome.code}: {outcome.errors[-600:]}"
        yield from (f"after the same command, {each}" for each in differences(state_of(self.folder), self.expected))

    def _badly_ended(self, disturbance: Disturbance, outcome: Outcome) -> Iterator[str]:
        """What is wrong with how a disturbed command ended."""
        if disturbance.error == 0:
            if outcome.code != -SIGKILL:
                yield f"ended with {outcome.code} before it came to the point: {outcome.errors}"
        elif outcome.code == 0:  # it could do without, or said what is left
            for each in differences(state_of(self.folder), self.expected):
                if not each.endswith("left over") or each.split("/")[0].split(":")[0] not in outcome.errors:
                    yield f"exit code 0, and {each}"
        else:
            yield from self._badly_told(outcome)

    def _badly_told(self, outcome: Outcome) -> Iterator[str]:
        if outcome.code not in (1, 2):
            yield f"exit code {outcome.code}"
        lines = outcome.errors.partition("error: ")[2].splitlines()
        if not 1 <= len(lines) <= MOST_LINES or "Traceback" in outcome.errors or "Exception ignored" in outcome.errors:
            yield f"told in {len(lines)} lines: {outcome.errors[-600:]}"
        changed = {name for point in outcome.points for path in point.split()[1:] for name in path.split("/")}
        if not any(name in " ".join(lines) for name in {*changed, self.folder.name}):
            yield f"names no file: {lines}"
