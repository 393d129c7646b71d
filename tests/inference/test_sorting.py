"""Files come into the folder of their class, and nothing that is there is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastsketch.errors import FastSketchError
from fastsketch.inference.inputs import StoredSample, UnreadSample
from fastsketch.inference.rows import Row
from fastsketch.inference.sorting import Sorter
from fastsketch.sources.sample import ContentSample, ImageSample, StrokeSample


def row(label: str | None) -> Row:
    return Row("x", *((), (), ()) if label is None else ((label,), (1.0,), (0,)))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("copy", [False, True], ids=["links", "copies"])
def test_the_same_inputs_again_change_nothing(tmp_path: Path, copy: bool) -> None:
    samples = []
    for place in ("a", "b", "c"):  # one name in three folders
        path = tmp_path / place / "1.png"
        path.parent.mkdir()
        path.write_bytes(place.encode())
        samples.append(ImageSample("x", path))
    samples.append(ContentSample("x.tar/deep/1.png", b"from an archive"))
    (tmp_path / "out" / "cat").mkdir(parents=True)
    (tmp_path / "out" / "cat" / "1-3.png").write_bytes(b"somebody's own")
    expected = {
        "cat/1.png": b"a", "cat/1-2.png": b"b", "cat/1-3.png": b"somebody's own", "cat/1-4.png": b"c",
        "cat/1-5.png": b"from an archive",
    }  # fmt: skip
    for _ in range(3):
        sorter = Sorter(tmp_path / "out", copy=copy)
        for sample in samples:
            sorter.put(sample, row("cat"))
        assert tree(tmp_path / "out") == expected
        assert sorter.files == 4
    assert (tmp_path / "out" / "cat" / "1-2.png").is_symlink() != copy


def test_links_lead_to_the_file_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    Sorter(Path("out"), copy=False).put(ImageSample("1.png", Path("1.png")), row("cat"))
    monkeypatch.chdir("/")
    assert (tmp_path / "out" / "cat" / "1.png").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        (None, "_unsure"), ("..", "_.."), (".", "_."), ("", "_"), ("a/b", "a_b"), ("../../x", ".._.._x"),
        ("_unsure", "__unsure"), ("\\x", "_x"), ("ant eater", "ant eater"),
    ],
)  # fmt: skip
def test_no_class_leads_out_of_the_folder(tmp_path: Path, label: str | None, folder: str) -> None:
    Sorter(tmp_path / "out", copy=True).put(ContentSample("x/1.png", b"1"), row(label))
    assert tree(tmp_path) == {f"out/{folder}/1.png": b"1"}


def test_no_name_in_an_archive_leads_out_of_the_folder(tmp_path: Path) -> None:
    Sorter(tmp_path / "out", copy=True).put(ContentSample("x.tar/../../../1.png", b"1"), row("cat"))
    assert tree(tmp_path) == {"out/cat/1.png": b"1"}


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    import numpy as np

    sorter = Sorter(tmp_path / "out", copy=True)
    for sample in (StrokeSample("x", b""), StoredSample("x", np.zeros((2, 2), np.uint8))):
        sorter.put(sample, row("cat"))
    sorter.put(UnreadSample("x", ""), Row("x", error="because"))
    assert sorter.files == 0
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    os.symlink("nowhere", tmp_path / "cat" / "1.png")
    Sorter(tmp_path, copy=True).put(ContentSample("1.png", b"1"), row("cat"))
    assert tree(tmp_path) == {"cat/1-2.png": b"1"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(b"")
    with pytest.raises(FastSketchError, match="File exists"):
        Sorter(tmp_path, copy=True).put(ContentSample("1.png", b"1"), row("cat"))
