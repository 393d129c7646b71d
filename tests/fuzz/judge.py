"""What is right: success or one clear error, nothing touched that is somebody else's, nothing of the input executed."""

from __future__ import annotations

import os
import re
import stat
import zlib
from pathlib import Path

from fuzz.case import Case, Outcome
from fuzz.zygote import MEMORY

LINES = 3
"""An error has no more lines."""

PROBLEMS = 12
"""A configuration's problems are told all at once, a line each below the first; so many of them at most."""

LENGTH = 6000
"""Characters of an error at most: names and paths may be long."""

CANARY = "canary"
"""Beside the case's folder; whatever is executed from the input writes `executed` into it."""

Snapshot = dict[str, tuple[object, ...]]


def snapshot(folder: Path) -> Snapshot:
    """Every file below `folder`, known by its kind, its mode and its bytes; large ones by size and time."""
    seen: Snapshot = {}
    for parent, folders, names in os.walk(os.fsencode(folder)):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            key = os.fsdecode(os.path.relpath(path, os.fsencode(folder)))
            seen[key] = (status.st_mode, *_content(path, status))
    return seen


def _content(path: bytes, status: os.stat_result) -> tuple[object, ...]:
    if stat.S_ISLNK(status.st_mode):
        return (os.readlink(path),)
    if not stat.S_ISREG(status.st_mode):
        return ()
    if status.st_size > 1 << 20 or not os.access(path, os.R_OK):
        return status.st_size, status.st_mtime_ns, status.st_ino
    with open(path, "rb") as file:
        return status.st_size, zlib.crc32(file.read())


def touched(before: Snapshot, after: Snapshot, case: Case) -> list[str]:
    """What a case changed that it had no business with."""
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    ours = [os.path.normpath(name) for name in case.writes]
    # What a conversion or a run keeps beside its destination carries the destination's name.
    beside = tuple(f"{name}." for name in ours) + tuple(f".{name}" for name in ours)
    foreign = [
        key
        for key in changed
        if not any(key == name or key.startswith(name + os.sep) for name in ours) and not key.startswith(beside)
    ]
    return [f"changed {key!r}" for key in foreign]


def judged(outcome: Outcome, greedy: bool = False) -> list[str]:
    """What is wrong with the end of one command; a greedy one may be told that memory does not suffice."""
    text = outcome.stdout + outcome.stderr
    problems = [f"touched the outside: {path}" for path in outcome.trespasses]
    if outcome.timed_out:
        problems.append("hangs")
    elif outcome.code < 0:
        problems.append(f"killed by signal {-outcome.code}")
    elif outcome.code not in (0, 1, 2):
        problems.append(f"exit code {outcome.code}")
    if "Traceback" in text:
        problems.append("Traceback")
    elif outcome.report or "a bug in fastsketch" in outcome.stderr:
        problems.append("an exception that nobody expected")
    elif outcome.code in (1, 2):
        problems += _told(outcome.stderr)
    if controls := sorted({letter for letter in text if ord(letter) < 32 or ord(letter) == 127} - {"\n"}):
        problems.append(f"prints what a terminal obeys: {controls}")
    if "memory does not suffice" in outcome.stderr and not greedy:
        problems.append("wants more memory than it may have")
    if outcome.peak > MEMORY:
        problems.append(f"took {outcome.peak / 1e9:.1f} GB")
    return problems


def _told(errors: str) -> list[str]:
    """What is wrong with the words of an error: they are the lines from `error:` on, or a usage error's box."""
    lines = errors.rstrip().splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("error:")), None)
    if start is None:
        box = [line for line in lines if line.startswith("│")]
        if not box:
            return ["failed without a word"]
        told = box
    else:
        told = lines[start:]
    several = re.match(r"error: (\d+) problems? in the ", told[0])
    allowed = LINES + (min(int(several[1]), PROBLEMS) if several else 0)
    problems = [f"{len(told)} lines of error"] if len(told) > allowed and start is not None else []
    if sum(map(len, told)) > LENGTH:
        problems.append(f"{sum(map(len, told)):,} characters of error")
    return problems


def frame(outcome: Outcome) -> str:
    """Exception and last line of the product in a traceback, printed or reported: by these failures are told apart."""
    text = outcome.stdout + outcome.stderr + outcome.report
    if "Traceback" not in text:
        return ""
    places = re.findall(r'File "[^"]*?((?:fastsketch|cli)/[\w/]+\.py)", line (\d+), in (\w+)', text)
    raised = re.findall(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Warning|Exit|Overflow)\b.*)", text, re.M)
    place = "{}:{} {}".format(*places[-1]) if places else "?"
    return f"{raised[-1][:100] if raised else '?'} | {place}"
