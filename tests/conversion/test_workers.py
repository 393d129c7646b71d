"""Worker processes that cannot start, and those that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from converting import changed

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
    monkeypatch.setattr(convert, "_decode_chunk", _die)
    with pytest.raises(FastSketchError, match="a decoding process was killed, most likely for want of memory"):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(workers=2))


def _die(*_: object) -> None:
    os._exit(9)


CTRL_C = """
import os, signal, time
from concurrent.futures import ProcessPoolExecutor
from fastsketch.workers import process_pool

begin = ProcessPoolExecutor.submit

def submit(self, task):
    begin(self, task)
    time.sleep(0.5)
    os.killpg(0, signal.SIGINT)

if __name__ != "__main__":
    time.sleep(1)  # a worker, which imports this file

ProcessPoolExecutor.submit = submit

if __name__ == "__main__":
    try:
        with process_pool(2):
            print("entered")
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_while_workers_start_is_heard_once_they_have(tmp_path: Path) -> None:
    """A terminal sends it to them as well: no traceback of theirs, and no pool that waits for ever."""
    script = tmp_path / "script.py"
    script.write_text(CTRL_C)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)
