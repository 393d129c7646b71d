from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from converting import CONFIG, SIZE, changed, content

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert, convert_dataset
from fastsketch.conversion.destination import Destination
from fastsketch.sources import open_source


class Interrupted(Exception):
    pass


def interrupt_after(samples: int) -> Callable[[int, float], None]:
    def progress(done: int, share: float) -> None:
        if done >= samples:
            raise Interrupted

    return progress


def interrupted(*_: object, **__: object) -> None:
    raise Interrupted


@pytest.fixture
def journal_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "JOURNAL_SECONDS", 0.0)
    monkeypatch.setattr(convert, "CHUNK", 7)  # chunks that hold the end of one class and the next's start


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


ENTRIES: dict[str, Callable[[dict], object]] = {
    "a class that is none": lambda journal: journal.update(label=99),
    "a class below 0": lambda journal: journal.update(label=-1),
    "more samples done than listed": lambda journal: journal.update(offset=10**6),
    "fewer samples done than images": lambda journal: journal.update(offset=1),
    "other images than in all": lambda journal: journal.update(done=journal["done"] + 1),
    "no images, but columns": lambda journal: journal.update(done=0),
    "a split that is none": lambda journal: journal["totals"].update(dev=journal["totals"]["train"]),
    "no totals": lambda journal: journal.update(totals={}),
    "a sum too large": lambda journal: journal["totals"]["train"].update(sum=10**12),
    "squares too large": lambda journal: journal["totals"]["train"].update(squares=10**12),
    "a column too short": lambda journal: journal["lengths"]["train"].update(labels=8),
    "a column below 0": lambda journal: journal["lengths"]["train"].update(ids=-1),
    "a column too few": lambda journal: journal["lengths"]["train"].pop("ink"),
    "no columns": lambda journal: journal.update(lengths={}),
    "a word": lambda journal: journal.update(offset="many"),
    "an entry too many": lambda journal: journal.update(colour="blue"),
    "half a character": lambda journal: journal.update(fingerprint="\ud800"),
    "a class begun of which nothing is known": lambda journal: journal["sources"].pop(),
}


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize("change", ENTRIES.values(), ids=ENTRIES.keys())
def test_a_journal_that_cannot_be_starts_over(
    shapes: Path, tmp_path: Path, change: Callable[[dict], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, interrupt_after(20))
    path = tmp_path / "out.partial/journal.json"
    journal = json.loads(path.read_text())
    change(journal)
    path.write_text(json.dumps(journal))
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert "journal.json is damaged: starting over" in caplog.text
    convert_dataset(open_source(shapes), tmp_path / "straight", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize("column", ["images.u8", "labels.i64", "ink.u16", "ids.jsonl"])
@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_files_that_are_shorter_than_the_journal_says_start_over(
    shapes: Path, tmp_path: Path, column: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, interrupt_after(20))
    path = tmp_path / "out.partial" / f"train.{column}"
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 7)
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert f"train.{column} is shorter than recorded: starting over" in caplog.text
    convert_dataset(open_source(shapes), tmp_path / "straight", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
def test_a_sample_more_in_the_class_under_way_starts_over(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Divided by shares, all of its samples may belong elsewhere then; and what was exported is of other samples."""
    source = shutil.copytree(shapes, tmp_path / "in")
    config = changed(split="0.5/0.3/0.2", format="dali")
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "publish", interrupted)
        with pytest.raises(Interrupted):
            convert_dataset(open_source(source), tmp_path / "out", config)
    assert (tmp_path / "out.partial/train-00000.tar").exists()
    shutil.copy(source / "square/000.png", source / "square/zzz.png")
    convert_dataset(open_source(source), tmp_path / "out", config)
    convert_dataset(open_source(source), tmp_path / "straight", config)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def of_images(shapes: Path, root: Path) -> tuple[Path, Path]:
    return shutil.copytree(shapes, root), root / "circle/003.png"


def of_listed_images(shapes: Path, root: Path) -> tuple[Path, Path]:
    shutil.copytree(shapes, root)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    (root / "filelist.txt").write_text("\n".join(names))
    return root, root / "circle/003.png"


def of_drawings(shapes: Path, root: Path) -> tuple[Path, Path]:
    root.mkdir()
    for name in ("circle", "cross", "square"):
        records = [{"key_id": str(key), "drawing": [[[0, key], [0, 99]]]} for key in range(1, 21)]
        (root / f"{name}.ndjson").write_text("\n".join(map(json.dumps, records)))
    return root, root / "circle.ndjson"


def change(drawn: Path) -> None:
    """Other ink under the same name, in a file of the same size."""
    data = drawn.read_bytes()
    if drawn.suffix == ".ndjson":
        drawn.write_bytes(data.replace(b"99", b"11"))
    else:
        drawn.write_bytes(b"no image".ljust(len(data)))


@pytest.mark.usefixtures("journal_always")
@pytest.mark.parametrize("samples", [14, 28, 50])
@pytest.mark.parametrize("draw", [of_images, of_listed_images, of_drawings])
def test_a_file_that_changed_since_starts_over(
    shapes: Path,
    tmp_path: Path,
    draw: Callable[[Path, Path], tuple[Path, Path]],
    samples: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether its class is under way or done: a done one is not even listed again."""
    source, drawn = draw(shapes, tmp_path / "in")
    with pytest.raises(Interrupted):
        convert_dataset(open_source(source), tmp_path / "out", CONFIG, interrupt_after(samples))
    before = os.stat(drawn)
    change(drawn)
    assert os.stat(drawn).st_size == before.st_size
    convert_dataset(open_source(source), tmp_path / "out", CONFIG)
    assert "files of class 'circle' have changed since: starting over" in caplog.text
    convert_dataset(open_source(source), tmp_path / "straight", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.usefixtures("journal_always")
def test_a_file_that_changes_while_it_is_converted_starts_the_next_call_over(shapes: Path, tmp_path: Path) -> None:
    """What it was is looked at before the listing, not when the images are written."""
    source, drawn = of_images(shapes, tmp_path / "in")

    def disturb(done: int, share: float) -> None:
        if done == 7:
            change(drawn)
        if done > 14:  # the journal is written after each chunk was told
            raise Interrupted

    with pytest.raises(Interrupted):
        convert_dataset(open_source(source), tmp_path / "out", CONFIG, disturb)
    convert_dataset(open_source(source), tmp_path / "out", CONFIG)
    convert_dataset(open_source(source), tmp_path / "straight", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


STOPPING = """
import sys, time
from pathlib import Path
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert, convert_dataset
from fastsketch.sources import open_source

def stop(done, share):
    if done >= 128:
        print(done, flush=True)
        time.sleep(600)

if __name__ == "__main__":
    convert.JOURNAL_SECONDS = 0.0
    config = ConvertConfig(size=24, split="60/20/20", seed=3, workers=2)
    convert_dataset(open_source(Path(sys.argv[1])), Path(sys.argv[2]), config, stop)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_killed_process_continues_to_the_same_bytes(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    """`kill -9` in the middle of a real conversion, which holds still for it."""
    source = draw_shapes(tmp_path / "in", per_class=100)
    straight = ConvertConfig(size=SIZE, split="60/20/20", seed=3, workers=1)
    convert_dataset(open_source(source), tmp_path / "straight", straight)
    (tmp_path / "stopping.py").write_text(STOPPING)
    command = [sys.executable, str(tmp_path / "stopping.py"), str(source), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"128\n"
        workers = _children(process.pid)
        assert workers
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    assert not (tmp_path / "out").exists()
    assert 32 <= json.loads((tmp_path / "out.partial/journal.json").read_text())["done"] <= 128
    deadline = time.monotonic() + 20
    while outliving := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        if time.monotonic() > deadline:
            for worker in outliving:
                os.kill(worker, signal.SIGKILL)
            pytest.fail("a worker outlived its parent")
        time.sleep(0.05)

    told: list[int] = []
    convert_dataset(open_source(source), tmp_path / "out", straight, lambda done, share: told.append(done))
    assert told[0] > 32
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def _children(pid: int) -> list[int]:
    """Ids of a process's children that have not ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
