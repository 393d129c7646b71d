"""What only a real process can show: signals at every moment, streams that are closed, full, narrow or not read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from packs import write_pack

EVERYWHERE = """
import json, os, signal, sys
number, stride, outcomes = int(sys.argv[1]), int(sys.argv[2]), {}
sys.argv = ["fastsketch", *sys.argv[3:]]
from fastsketch_cli import app, process
state = {"armed": False, "events": 0}

def hook(event, arguments):
    if not state["armed"] or event != "import":
        return
    state["events"] += 1
    if state["events"] % stride:
        return
    state["armed"] = False
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        outcomes.setdefault(f"{code} {said}", []).append(f"{state['events']} {event} {arguments!r}"[:200])
        state["armed"] = True
        return
    process._State.process = os.getpid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(write, 2)
    signal.alarm(20)
    signal.raise_signal(number)

sys.addaudithook(hook)
process.listen()  # the first thing that main does: an event before it cannot be answered by us
state["armed"] = True
try:
    app.main()
finally:
    if state["armed"]:
        state["armed"] = False
        sys.stderr.write(json.dumps(outcomes))
"""
"""Run a command; at every n-th import (nearly all that it does) fork, and let the fork have the signal right then."""


def outcomes(number: int, stride: int, *arguments: object) -> dict[str, list[str]]:
    command = [sys.executable, "-c", EVERYWHERE, str(number), str(stride), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    found: dict[str, list[str]] = json.loads(result.stderr.splitlines()[-1])
    return found


def test_ctrl_c_at_every_moment_is_one_word() -> None:
    """Low: Ctrl-C in the first 0.1 s was a traceback. Here it comes at each import of a whole command."""
    found = outcomes(signal.SIGINT, 1, "recipes")
    assert sum(map(len, found.values())) > 200
    assert set(found) == {"130 interrupted\n"}, {key: moments[:3] for key, moments in found.items()}


def test_sigterm_is_one_word_too() -> None:
    found = outcomes(signal.SIGTERM, 11, "recipes")
    assert set(found) == {"143 terminated\n"}, {key: moments[:3] for key, moments in found.items()}


@pytest.mark.slow
def test_ctrl_c_while_torch_is_imported_is_one_word(tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 8})
    found = outcomes(signal.SIGINT, 307, "preview", tmp_path / "data", "--out", tmp_path / "x.png")
    assert sum(map(len, found.values())) > 7
    assert set(found) == {"130 interrupted\n"}, {key: moments[:3] for key, moments in found.items()}


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which `fastsketch` is the command."""
    line = command.replace("fastsketch", f"'{sys.executable}' -m fastsketch")
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        errors="replace",  # what is not UTF-8 here was written so
        timeout=60,
        env={**os.environ, **environment},
    )


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    result = shell("fastsketch recipes | head -1; echo ${PIPESTATUS[0]}")
    assert result.stdout.splitlines()[-1] in ("0", "141")  # 0 where all of it fitted into the pipe in time
    assert result.stderr == ""


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_work_is_done_with_closed_streams(tmp_path: Path, closed: str) -> None:
    """Low: with `2>&-` nothing was converted, and nothing said so."""
    write_pack(tmp_path / "data", {"train": 8})
    result = shell(f"fastsketch inspect {tmp_path}/data --verify --sheet {tmp_path}/sheet.png {closed}")
    assert result.returncode == 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert result.stderr == ""
    assert shell(f"fastsketch inspect {tmp_path}/none {closed}").returncode == 2


def test_a_full_disk_behind_stdout_is_told() -> None:
    result = shell("fastsketch recipes > /dev/full")
    assert result.returncode == 1
    assert result.stderr.startswith("error: No space left on device, in: fastsketch recipes\n")
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr
    assert shell("fastsketch recipes > /dev/full 2> /dev/full").returncode == 1


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_an_encoding_lacks_is_escaped(tmp_path: Path, encoding: str) -> None:
    """Low: latin-1 output was a UnicodeEncodeError."""
    write_pack(tmp_path / "猫", {"train": 8})
    result = shell(f"fastsketch inspect {tmp_path}/猫", PYTHONIOENCODING=encoding)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{tmp_path}/\\u732b: 8 images" in result.stdout
    assert "\\u732b" in shell(f"fastsketch inspect {tmp_path}/猫/none", PYTHONIOENCODING=encoding).stderr
    for command in ("fastsketch recipes", "fastsketch --help", "fastsketch bogus"):
        result = shell(command, PYTHONIOENCODING=encoding)
        assert result.returncode in (0, 2)
        assert "Traceback" not in result.stderr


def test_names_that_are_no_unicode_are_told(tmp_path: Path) -> None:
    result = shell(f"fastsketch inspect {tmp_path}/$'\\xff\\x1b[31m\\n'", LC_ALL="C.UTF-8")
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path}/\\udcff\\x1b[31m\\n: no such folder\n"


def test_libraries_are_silent_unless_asked(tmp_path: Path) -> None:
    """Finding 14: warnings and logs of libraries reach nobody."""
    script = """
import logging, sys, warnings
sys.argv = ["fastsketch", "recipes"]
from fastsketch import recipes
names = recipes.recipe_names
def noisy():
    warnings.warn("noise of a library")
    logging.getLogger("timm.models").warning("noise of a library")
    return names()
recipes.recipe_names = noisy
from fastsketch_cli.app import main
main()
"""
    run = [sys.executable, "-c", script]
    assert subprocess.run(run, capture_output=True, text=True, timeout=60).stderr == ""
    debug = {**os.environ, "FASTSKETCH_DEBUG": "1"}
    assert subprocess.run(run, capture_output=True, text=True, timeout=60, env=debug).stderr.count("noise") >= 2


@pytest.mark.parametrize("command", ["evaluate none", "preview none", "inspect none", "train none", "tune none"])
def test_what_can_be_refused_without_torch_is(tmp_path: Path, command: str) -> None:
    """Finding 15: `evaluate runs/nothing` needed 6 s."""
    script = f"""
import sys
sys.argv = ["fastsketch", *{command.split()!r}]
from fastsketch_cli.app import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: none")
