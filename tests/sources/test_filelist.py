from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastsketch.errors import DataError
from fastsketch.sources import open_source
from fastsketch.sources.filelist import FileListSource


def listed(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "filelist.txt"
    path.write_bytes(text.encode(encoding))
    return path


def test_lists_exactly_what_is_named_in_torchvisions_order(tmp_path: Path) -> None:
    listed(tmp_path, "person walking/7.png\nairplane/10.png\nairplane/2.png\nZebra/1.png\ntrain/3.png\n")
    (tmp_path / "airplane").mkdir()
    (tmp_path / "airplane/unlisted.png").touch()
    source = open_source(tmp_path)
    assert source.kind == "filelist"
    assert not source.splits
    assert source.class_names == ("Zebra", "airplane", "person walking", "train")
    assert [sample.id for sample in source.samples(1)] == ["airplane/10.png", "airplane/2.png"]
    assert [sample.path for sample in source.samples(2)] == [tmp_path / "person walking/7.png"]


@pytest.mark.parametrize("text", ["a/1.png\r\n\r\n  b/2.png \r\n", "﻿a/1.png\n\nb/2.png", "b/2.png\na/1.png\na/1.png\n"])
def test_windows_lines_empty_lines_byte_order_marks_and_repetitions(tmp_path: Path, text: str) -> None:
    source = open_source(listed(tmp_path, text))
    assert source.class_names == ("a", "b")
    assert [sample.id for label in (0, 1) for sample in source.samples(label)] == ["a/1.png", "b/2.png"]


@pytest.mark.parametrize("entry", ["1.png", "/etc/passwd", "../a/1.png", "a/b/1.png", "a/.."])
def test_an_entry_that_is_not_class_and_image_is_named_with_its_line(tmp_path: Path, entry: str) -> None:
    with pytest.raises(DataError, match=r"filelist\.txt, line 2: .* is not <class>/<image>"):
        FileListSource(listed(tmp_path, f"a/1.png\n{entry}\n"))


def test_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the list is empty"):
        FileListSource(listed(tmp_path, "\n\n"))


def test_a_list_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"filelist\.txt: not UTF-8"):
        FileListSource(listed(tmp_path, "café/1.png\n", encoding="latin-1"))


@pytest.mark.parametrize("entry", ["a\x1b[31m/1.png", "a\x85b/1.png", "a\u2028b/1.png", "a\0b/1.png"])
def test_m8_a_class_of_several_lines_is_refused_in_one(tmp_path: Path, entry: str) -> None:
    with pytest.raises(DataError, match=r"line 2: '.*' is not <class>/<image>") as caught:
        FileListSource(listed(tmp_path, f"a/1.png\n{entry}\n"))
    assert caught.value.message.isprintable()


def test_m8_the_names_of_images_get_printable_ids(tmp_path: Path) -> None:
    (sample,) = FileListSource(listed(tmp_path, "a/1\x1b[31m\u20281.png\n")).samples(0)
    assert sample.id == r"a/1\x1b[31m\u20281.png"
    assert sample.path == tmp_path / "a/1\x1b[31m\u20281.png"


def test_m10_a_list_that_is_no_file(tmp_path: Path) -> None:
    """M10: a named pipe was waited for."""
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"list\.txt: cannot be read \(not a file, but a named pipe\)"):
        open_source(tmp_path / "list.txt")
