"""What a source says of its files without opening them, by which a conversion knows them again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastsketch.sources import Source, filelist, open_source, quickdraw


def images(root: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"image")
    return root / "a/1.png"


def listed(root: Path) -> Path:
    file = images(root)
    (root / "filelist.txt").write_text("a/1.png\na/2.png\nb/1.png\n")
    return file


def drawings(root: Path) -> Path:
    for name in ("a", "b"):
        (root / f"{name}.ndjson").write_text('{"drawing": [[[1, 2], [3, 4]]]}\n')
    return root / "a.ndjson"


def touch(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def grow(file: Path) -> None:
    time = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes() + b"\n")
    os.utime(file, ns=(time, time))


@pytest.mark.parametrize("change", [touch, grow, Path.unlink])
@pytest.mark.parametrize("fill", [images, listed, drawings])
def test_a_state_tells_a_changed_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[Path], Path],
    change: Callable[[Path], None],
) -> None:
    file = fill(tmp_path)
    source: Source = open_source(tmp_path)
    for module in (filelist, quickdraw):
        monkeypatch.delattr(module, "open_regular")  # nothing is opened
    before = [source.state(label) for label in range(2)]
    assert [source.state(label) for label in range(2)] == before
    assert before[0] != before[1]
    change(file)
    assert source.state(0) != before[0]
    assert source.state(1) == before[1]


def test_a_state_tells_an_image_more_and_another_name(tmp_path: Path) -> None:
    file = images(tmp_path)
    source = open_source(tmp_path)
    states = {source.state(0)}
    file.rename(file.with_name("3.png"))
    states.add(source.state(0))
    (tmp_path / "a/deep").mkdir()
    os.link(tmp_path / "b/1.png", tmp_path / "a/deep/1.png")
    states.add(source.state(0))
    assert len(states) == 3
