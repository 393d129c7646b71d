from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conversion import CONFIG, SIZE, changed, content

from fastsketch.config import ConvertConfig
from fastsketch.convert import conversion, convert_dataset
from fastsketch.sources import open_source


class Interrupted(Exception):
    pass


def interrupt_after(samples: int) -> Callable[[int, float], None]:
    def progress(done: int, share: float) -> None:
        if done >= samples:
            raise Interrupted

    return progress


@pytest.fixture
def journal_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "JOURNAL_SECONDS", 0.0)
    monkeypatch.setattr(conversion, "CHUNK", 7)  # chunks that hold the end of one class and the next's start


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize("samples", [1, 7, 19, 20, 21, 40, 55, 57])
def test_an_interrupted_conversion_continues_to_the_same_bytes(damaged: Path, tmp_path: Path, samples: int) -> None:
    config = changed(split="0.5/0.3/0.2")
    convert_dataset(open_source(damaged), tmp_path / "straight", config)
    with pytest.raises(Interrupted):
        convert_dataset(open_source(damaged), tmp_path / "out", config, interrupt_after(samples))
    assert not (tmp_path / "out").exists()
    told: list[int] = []
    convert_dataset(open_source(damaged), tmp_path / "out", config, lambda done, share: told.append(done))
    assert content(tmp_path / "out") == content(tmp_path / "straight")
    assert len(told) <= 9 - (samples - 1) // 7  # of nine chunks; what was done is not done again
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.usefixtures("journal_always")
def test_interrupted_again_and_again(damaged: Path, tmp_path: Path) -> None:
    config = changed(split="0.5/0.3/0.2")
    convert_dataset(open_source(damaged), tmp_path / "straight", config)
    for samples in (10, 20, 21, 50):
        with pytest.raises(Interrupted):
            convert_dataset(open_source(damaged), tmp_path / "out", config, interrupt_after(samples))
    convert_dataset(open_source(damaged), tmp_path / "out", config)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize(
    "changes", [{"size": 16}, {"seed": 1}, {"split": "10/4"}, {"resize": "box"}, {"classes": 2}, {"strict": True}]
)
def test_other_settings_start_over(shapes: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(Interrupted):
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, interrupt_after(20))
    convert_dataset(open_source(shapes), tmp_path / "out", changed(**changes))
    convert_dataset(open_source(shapes), tmp_path / "straight", changed(**changes))
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
def test_another_source_of_the_same_classes_starts_over(shapes: Path, damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(split="0.5/0.5"), interrupt_after(20))
    convert_dataset(open_source(damaged), tmp_path / "out", changed(split="0.5/0.5"))
    convert_dataset(open_source(damaged), tmp_path / "straight", changed(split="0.5/0.5"))
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize("journal", [b"", b"{", b"[]", b'{"fingerprint": 3}'])
def test_a_damaged_journal_starts_over(shapes: Path, tmp_path: Path, journal: bytes) -> None:
    with pytest.raises(Interrupted):
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, interrupt_after(20))
    (tmp_path / "out.partial/journal.json").write_bytes(journal)
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    convert_dataset(open_source(shapes), tmp_path / "straight", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def _feed(fifo: Path, data: bytes, seconds: float) -> None:
    """Wait until the conversion reads from `fifo`, keep it waiting for so long, then let it have `data`."""
    deadline = time.monotonic() + 60
    while True:
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    time.sleep(seconds)
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


@pytest.mark.skipif(sys.platform != "linux", reason="named pipes and /proc")
def test_a_killed_process_continues_to_the_same_bytes(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    """`kill -9` in the middle of a real conversion, at a moment that two images chosen for it hold still."""
    source = draw_shapes(tmp_path / "in", per_class=100)
    convert_dataset(
        open_source(source), tmp_path / "straight", ConvertConfig(size=SIZE, split="60/20/20", seed=3, workers=1)
    )
    arguments = [str(source), str(tmp_path / "out"), "--size", str(SIZE), "--split", "60/20/20", "--seed", "3"]
    command = [sys.executable, "-m", "fastsketch", "convert", *arguments, "--workers", "2"]
    # As named pipes, two images are there when somebody writes to them: the first when it is time for a journal entry,
    # the second never.
    first, second = source / "circle/050.png", source / "cross/080.png"
    images = {path: path.read_bytes() for path in (first, second)}
    for path in images:
        path.unlink()
        os.mkfifo(path)

    process = subprocess.Popen(command)
    workers: list[int] = []
    try:
        _feed(first, images[first], conversion.JOURNAL_SECONDS + 0.5)
        deadline = time.monotonic() + 60
        while not (tmp_path / "out.partial/journal.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = _children(process.pid)
        assert workers
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert not (tmp_path / "out").exists()
    assert 32 <= json.loads((tmp_path / "out.partial/journal.json").read_text())["done"] < 200
    deadline = time.monotonic() + 20
    while outliving := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        if time.monotonic() > deadline:
            for worker in outliving:
                os.kill(worker, signal.SIGKILL)
            pytest.fail("a worker outlived its parent")
        time.sleep(0.05)

    for path, data in images.items():
        path.unlink()
        path.write_bytes(data)
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert "continuing after" in finished.stderr
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def _children(pid: int) -> list[int]:
    """Ids of a process's children that have not ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
