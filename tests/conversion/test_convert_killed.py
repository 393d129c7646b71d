"""Conversions with worker processes that are killed, and two at once. Real commands in real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from converting import KILLED_AFTER_A_CHUNK
from shapes import draw_shape

COMMAND = [sys.executable, "-m", "fastsketch", "convert"]


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough work for a second or two, so that there is a middle to be killed in."""
    root = tmp_path_factory.mktemp("sketches")
    rng = np.random.default_rng(0)
    for name in ("circle", "cross", "square"):
        (root / name).mkdir()
        for index in range(120):
            draw_shape("a circle" if name == "circle" else name, rng, 600).save(root / name / f"{index:03d}.png")
    (root / "square" / "broken.png").write_bytes(b"not an image")
    return root


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, sketches: Path) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "data"
    subprocess.run(arguments(sketches, folder), check=True, capture_output=True, timeout=300)
    return contents(folder)


def arguments(sketches: Path, folder: Path, format: str = "dali") -> list[str]:
    return [*COMMAND, str(sketches), str(folder), "--size", "224", "--workers", "2", "--format", format]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_with_its_workers_at_work_they_end_and_the_same_command_continues(
    tmp_path: Path, sketches: Path, undisturbed: dict[str, bytes]
) -> None:
    """Every point at which a conversion in one process can be killed is enumerated in tests/crash."""
    folder, journal = tmp_path / "data", tmp_path / "data.partial" / "journal.json"
    command = [sys.executable, "-c", KILLED_AFTER_A_CHUNK, *arguments(sketches, folder)[3:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        family = {int(pid) for pid in process.stdout.readline().split()}
        assert len(family) > 2
        _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    waited = time.monotonic() + 60
    while any(map(alive, family)) and time.monotonic() < waited:
        time.sleep(0.05)
    assert not any(map(alive, family)), "a worker outlived its parent"
    assert 0 < json.loads(journal.read_bytes())["done"] < 360
    result = subprocess.run(arguments(sketches, folder), check=True, capture_output=True, text=True, timeout=300)
    assert "continuing after" in result.stderr
    assert contents(folder) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_second_conversion_to_the_same_place_is_refused(
    tmp_path: Path, sketches: Path, undisturbed: dict[str, bytes]
) -> None:
    folder = tmp_path / "data"
    first = subprocess.Popen(arguments(sketches, folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "data.partial" / "train.images.u8").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    second = subprocess.run(arguments(sketches, folder), capture_output=True, text=True, timeout=300)
    assert second.returncode == 1
    assert "another process is writing" in second.stderr
    assert "Traceback" not in second.stderr
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors.decode()
    assert contents(folder) == undisturbed


def test_files_that_changed_since_the_kill_start_it_over(tmp_path: Path, sketches: Path) -> None:
    """A journal says how many samples of a class are done: with others before them that would mean other samples."""
    source = tmp_path / "sketches"
    for path in sorted(sketches.glob("*/*.png")):
        (source / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(path, source / path.parent.name / path.name)
    folder = tmp_path / "data"

    def lower_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000, 9_000_000))

    script = f"""
from pathlib import Path
from fastsketch.conversion import convert as convert
from fastsketch.config import ConvertConfig
from fastsketch.sources import open_source
convert.JOURNAL_SECONDS = 0
convert.convert_dataset(open_source(Path({str(source)!r})), Path({str(folder)!r}), ConvertConfig(size=224, workers=1))
"""
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300, preexec_fn=lower_limit)
    assert (tmp_path / "data.partial" / "journal.json").is_file()
    for name in ("circle", "cross", "square"):
        (source / name / "000.png").rename(source / name / "zzz.png")
    result = subprocess.run(arguments(source, folder), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "files of class 'circle' have changed since: starting over" in result.stderr.replace("\n", " ")
    subprocess.run(arguments(source, tmp_path / "fresh"), check=True, capture_output=True, timeout=300)
    assert contents(folder) == contents(tmp_path / "fresh")
