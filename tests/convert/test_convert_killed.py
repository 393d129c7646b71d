"""Conversions that end badly: killed, out of disk, two at once. Real commands in real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shapes import draw_shape

COMMAND = [sys.executable, "-m", "fastsketch", "convert"]

EARLIER = '{"splits": {}}'
"""A data set that holds nothing."""

RESTLESS = """
import sys
from fastsketch.convert import conversion as convert
from fastsketch_cli.app import main

convert.JOURNAL_SECONDS = 0.05
sys.argv = ["fastsketch", *sys.argv[1:]]
main()
"""
"""The same command, but with a journal entry after almost every chunk: else the work would be done before the first."""


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


def spawned_by(pid: int) -> set[int]:
    """The process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return family


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_at_random_moments_it_continues_to_the_same_bytes(
    tmp_path: Path, sketches: Path, undisturbed: dict[str, bytes]
) -> None:
    rng = np.random.default_rng()
    folder, partial = tmp_path / "data", tmp_path / "data.partial"
    kills, continued = 0, False
    for _ in range(30):
        command = [sys.executable, "-c", RESTLESS, *arguments(sketches, folder)[3:]]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        # Three times it is killed when there is something to lose; then it may finish.
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and kills < 3:
            images = partial / "train.images.u8"
            if images.is_file() and images.stat().st_size > 0:
                break
            time.sleep(0.01)
        if kills < 3:
            time.sleep(rng.uniform(0, 0.4))
        family = spawned_by(process.pid) if kills < 3 else set()
        if kills < 3 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate(timeout=300)
        for pid in family:
            waited = time.monotonic() + 20
            while alive(pid) and time.monotonic() < waited:
                time.sleep(0.05)
            assert not alive(pid), f"worker {pid} outlived its parent"
        continued |= b"continuing after" in errors
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors.decode()
    assert kills >= 2, f"finished after {kills} kills: too little work to test with"
    assert continued, "nothing was continued"
    assert contents(folder) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_killed_while_it_publishes_it_continues(tmp_path: Path, sketches: Path, undisturbed: dict[str, bytes]) -> None:
    """Between the two renamings that put the new data set in the place of the old."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.json").write_text(EARLIER)
    script = f"""
import os, signal
from pathlib import Path
from fastsketch.convert import conversion as convert
from fastsketch.config import ConvertConfig
from fastsketch.sources import open_source

real = os.replace
def replace(source, target):
    if Path(target) == Path({str(folder)!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
convert.os.replace = replace
config = ConvertConfig(size=224, overwrite=True, workers=1, format="dali")
convert.convert_dataset(open_source(Path({str(sketches)!r})), Path({str(folder)!r}), config)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert (tmp_path / "data.earlier" / "dataset.json").read_text() == EARLIER
    started = time.monotonic()
    subprocess.run([*arguments(sketches, folder), "--overwrite"], check=True, capture_output=True, timeout=300)
    assert contents(folder) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["data"], time.monotonic() - started


@pytest.mark.parametrize("limit", [100_000, 5_000_000, 14_500_000], ids=["at once", "in the middle", "in a tar"])
def test_a_full_disk_is_a_clear_line_and_the_same_command_continues(
    tmp_path: Path, sketches: Path, undisturbed: dict[str, bytes], limit: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in undisturbed.items():
        (folder / name).write_bytes(content)
    before = contents(folder)
    assert len(before["train.images.u8"]) < 14_500_000 < len(before["train-00000.tar"])
    command = [*arguments(sketches, folder), "--overwrite"]

    def lower_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=lower_limit)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "File too large" in result.stderr
    assert "the same command continues" in result.stderr
    assert contents(folder) == before
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert contents(folder) == undisturbed


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
from fastsketch.convert import conversion as convert
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
    assert "other files: starting over" in result.stderr.replace("\n", " ")
    subprocess.run(arguments(source, tmp_path / "fresh"), check=True, capture_output=True, timeout=300)
    assert contents(folder) == contents(tmp_path / "fresh")
