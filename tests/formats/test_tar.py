from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packs import CLASSES, write_pack

from fastsketch.formats.pack import PackSplit
from fastsketch.formats.pieces import write_pieces
from fastsketch.formats.tar import spread, tar_files


@pytest.fixture
def split(tmp_path: Path) -> PackSplit:
    return PackSplit(tmp_path / "data", write_pack(tmp_path / "data", {"train": 331}, size=21), "train")


def write(folder: Path, split: PackSplit) -> list[Path]:
    """In shards of about a hundred samples."""
    folder.mkdir(exist_ok=True)
    paths = []
    for path, pieces in tar_files(folder, "train", split, shard_bytes=200_000):
        write_pieces(path, pieces)
        paths.append(path)
    return paths


def test_plain_tarfile_finds_every_sample_once(tmp_path: Path, split: PackSplit) -> None:
    tars = [path for path in write(tmp_path / "tars", split) if path.suffix == ".tar"]
    assert len(tars) > 2
    assert all(path.stat().st_size <= 200_000 for path in tars)
    seen, keys = [], []
    for path in tars:
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in members:
            key, _, extension = name.partition(".")
            if extension == "image.u8":
                label, index = np.frombuffer(members[f"{key}.target.i64"], "<i8")
                assert members[name] == split.images[index].tobytes()
                assert label == split.labels[index]
                seen.append(index)
                keys.append(key)
    assert sorted(seen) == list(range(len(split)))
    assert keys == sorted(set(keys))


def test_the_bytes_are_those_of_tarfile(tmp_path: Path, split: PackSplit) -> None:
    for path in write(tmp_path / "tars", split)[::2]:
        written = io.BytesIO()
        with tarfile.open(path) as ours, tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as theirs:
            for member in ours:
                info = tarfile.TarInfo(member.name)
                info.size = member.size
                theirs.addfile(info, ours.extractfile(member))
        assert path.read_bytes() == written.getvalue()


def test_the_index_is_that_of_dalis_tool(tmp_path: Path, split: PackSplit) -> None:
    wds2idx = pytest.importorskip("wds2idx")
    for tar, index in zip(*[iter(write(tmp_path / "tars", split))] * 2, strict=True):
        theirs = tmp_path / "theirs.idx"
        with wds2idx.IndexCreator(str(tar), str(theirs), verbose=False) as creator:
            creator.create_index()
        assert index.read_text() == theirs.read_text()


def test_two_calls_write_the_same_bytes(tmp_path: Path, split: PackSplit) -> None:
    first, again = write(tmp_path / "a", split), write(tmp_path / "b", split)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


@given(st.integers(1, 5000))
def test_the_order_is_a_permutation(count: int) -> None:
    assert sorted(spread(count).tolist()) == list(range(count))


@pytest.mark.parametrize("count", [60, 331, 12_000])
def test_any_stretch_of_the_tars_holds_all_classes_evenly(count: int) -> None:
    labels = spread(count) * len(CLASSES) // count
    stretch = 20
    for start in range(count - stretch):
        present = np.bincount(labels[start : start + stretch], minlength=len(CLASSES))
        assert abs(present - stretch // len(CLASSES)).max() <= 2


def test_reading_and_writing_needs_no_dali(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["nvidia.dali"] = None
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from pathlib import Path
from packs import write_pack
from fastsketch.formats.export import export
folder = Path({str(tmp_path)!r}, "data")
export(folder, write_pack(folder, {{"train": 5}}), ["dali"])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
