"""Whatever is named becomes a stream of samples, in order, and what is wrong with one ends nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from trained import SIZE, convert_sketches, picture, write_sketches

from fastsketch.conversion.decode import DecodeError, Reading
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.pack import PackSplit
from fastsketch.inference.inputs import UnreadSample, check_inputs, count_inputs, find_inputs, read_input
from fastsketch.sources.sample import ImageSample

READING = Reading(SIZE, "box")
LINE = json.dumps({"word": "cat", "key_id": "7", "drawing": [[[0, 9, 200], [0, 50, 90]]]}) + "\n"


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sketches(tmp_path_factory.mktemp("work") / "sketches", 24)


def names(arguments: Iterable[str | Path], lines: Iterable[str] = (), split: str | None = None) -> list[str]:
    return [sample.id for sample in find_inputs(map(str, arguments), lines, split)]


def test_a_folder_is_gone_through_by_name_and_what_is_deeper_comes_last(sketches: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "z/1.png", "c/d/2.webp", "c/3.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c" / "again").symlink_to(tmp_path)  # leads in circles
    expected = ["a.JPG", "b.png", "c/3.gif", "c/d/2.webp", "z/1.png"]
    assert names([tmp_path]) == [f"{tmp_path}/{name}" for name in expected]
    assert count_inputs([str(tmp_path)]) == 5
    assert names([sketches, tmp_path / "b.png"])[-1] == f"{tmp_path}/b.png"
    assert count_inputs([str(sketches), str(tmp_path / "b.png")]) == 25


def test_patterns_and_lists(sketches: Path) -> None:
    pattern = f"{sketches}/**/1*.png"
    expected = sorted(str(path) for path in sketches.rglob("1*.png"))
    assert names([pattern]) == expected
    assert count_inputs([pattern]) == len(expected) > 3
    assert names(["-", expected[0]], [f"{expected[1]}\n", "\n", f"{expected[2]}\r\n"]) == [*expected[1:3], expected[0]]
    assert count_inputs(["-"]) is None


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "cat [1].png"
    picture(0).save(path)
    check_inputs([str(path)], [READING], None)
    assert names([path]) == [str(path)]


@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz"])
def test_archives_hold_what_the_files_were(sketches: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"x.tar{'.' * bool(mode)}{mode}"
    with tarfile.open(path, f"w:{mode}") as archive:
        archive.add(sketches, "all")
        archive.addfile(tarfile.TarInfo("notes.txt"))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = {sample.id: read_input(sample, READING)[0] for sample in find_inputs([str(path)], ())}
    alone = {sample.id: read_input(sample, READING)[0] for sample in find_inputs([str(sketches)], ())}
    assert found.keys() == {f"{path}/all/{name.removeprefix(f'{sketches}/')}" for name in alone}
    assert sorted(image.tobytes() for image in found.values()) == sorted(image.tobytes() for image in alone.values())


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_strokes_are_read_line_by_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cat{suffix}"
    with gzip.open(path, "wt") if suffix.endswith("gz") else path.open("w") as file:
        file.write(LINE + "\nno json\n" + LINE)
    samples = list(find_inputs([str(path)], ()))
    assert [sample.id for sample in samples] == [f"{path}/7", f"{path}/line-000000003", f"{path}/7"]
    assert read_input(samples[0], READING)[0].min() == 0
    with pytest.raises(DecodeError):
        read_input(samples[1], READING)


def test_a_data_set_is_what_it_stores(sketches: Path, tmp_path: Path) -> None:
    dataset = convert_sketches(sketches, tmp_path / "data")
    check_inputs([str(tmp_path / "data")], [READING], "val")
    assert len(names([tmp_path / "data"])) == count_inputs([str(tmp_path / "data")]) == 24
    val = PackSplit(tmp_path / "data", dataset, "val")
    stored = list(find_inputs([str(tmp_path / "data")], (), "val"))
    assert [sample.id for sample in stored] == val.ids()
    assert count_inputs([str(tmp_path / "data")], "val") == len(val)
    assert all(np.array_equal(read_input(each, READING)[0], val.images[row, 0]) for row, each in enumerate(stored))
    for name, image in zip(val.ids(), val.images, strict=True):
        assert np.array_equal(read_input(ImageSample(name, sketches / name), READING)[0], image[0]), (
            "as convert read it"
        )


def torn_tar(folder: Path) -> Path:
    path = folder / "torn.tar"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in range(3):
            file = io.BytesIO()
            picture(number).save(file, "png")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(file.getvalue())
            archive.addfile(member, io.BytesIO(file.getvalue()))
    path.write_bytes(content.getvalue()[:1500])
    return path


def torn_gzip(folder: Path) -> Path:
    path = folder / "torn.ndjson.gz"
    path.write_bytes(gzip.compress((LINE * 3).encode())[:-12])
    return path


def no_tar(folder: Path) -> Path:
    (folder / "no.tar").write_bytes(b"nothing of the kind" * 100)
    return folder / "no.tar"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def pipe_of_strokes(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.ndjson")
    return folder / "pipe.ndjson"


def pipe_of_images(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.tar")
    return folder / "pipe.tar"


def nothing(folder: Path) -> Path:
    return folder / "nowhere.png"


def run_directory(folder: Path) -> Path:
    """The files of one by which it is known."""
    for name in ("config.yaml", "dataset.json", "best/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert count_inputs([str(folder)]) == 1
    return folder


def damaged_dataset(folder: Path) -> Path:
    (folder / "dataset.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (torn_tar, "unexpected end of data"),
        (torn_gzip, "cannot be read to its end"),
        (no_tar, ""),
        (pipe, "not a file, but a named pipe"),
        (pipe_of_strokes, "not a file, but a named pipe"),
        (pipe_of_images, "not a file, but a named pipe"),
        (nothing, "No such file"),
        (damaged_dataset, "is damaged"),
        (run_directory, "is a run directory, not a data set"),
    ],
)
def test_what_is_wrong_is_a_sample_too_and_ends_nothing(
    sketches: Path, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    path, good = make(tmp_path), next(sketches.rglob("*.png"))
    *_, broken, last = list(find_inputs(["-"], [f"{path}\n", f"{good}\n"]))
    assert last.id == str(good)
    assert broken.id.startswith(str(path))
    with pytest.raises(DecodeError, match=reason):
        read_input(broken, READING)


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    [sample] = find_inputs([str(tmp_path)], ())
    assert isinstance(sample, UnreadSample)
    assert "Permission denied" in sample.reason


def test_what_is_named_is_looked_for_first(sketches: Path, tmp_path: Path) -> None:
    convert_sketches(sketches, tmp_path / "data")
    for arguments, split, error, says in (
        ([], None, ConfigError, "nothing to look at"),
        ([str(sketches), "nowhere.png"], None, ConfigError, "nowhere.png: no such file"),
        ([str(tmp_path / "*.jpg")], None, ConfigError, "no such file"),
        ([str(sketches)], "val", ConfigError, "is no converted data set, and has no 'val' split"),
        ([str(tmp_path / "data")], "dev", ConfigError, "has no 'dev' split"),
    ):
        with pytest.raises(error, match=says.replace("*", r"\*")):
            check_inputs(arguments, [READING], split)
    with pytest.raises(ConfigError, match="has 48 px, and a model was trained on 64 px"):
        check_inputs([str(tmp_path / "data")], [Reading(64)], None)
    (tmp_path / "data" / "dataset.json").write_text("{}")
    with pytest.raises(DataError):
        check_inputs([str(tmp_path / "data")], [READING], None)
