from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fastsketch.errors import DataError
from fastsketch.sources import open_source
from fastsketch.sources.quickdraw import QuickDrawSource, parse_drawing
from fastsketch.sources.sample import StrokeSample

DRAWING = [[[0, 255, 255], [10, 10, 200]], [[5], [6]]]


def line(key: object = "1", drawing: object = DRAWING) -> bytes:
    return json.dumps({"word": "cat", "key_id": key, "drawing": drawing}).encode() + b"\n"


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0) if path.suffix == ".gz" else b"".join(lines))


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_a_file_a_class_and_a_line_a_drawing(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"hot dog{suffix}", [line("30"), line("4"), b"\n", line("5")])
    write(tmp_path / f"The Eiffel Tower{suffix}", [line("1")])
    (tmp_path / "readme.txt").touch()
    source = open_source(tmp_path)
    assert source.kind == "quickdraw"
    assert not source.splits
    assert source.class_names == ("The Eiffel Tower", "hot dog")
    assert [sample.id for sample in source.samples(1)] == ["hot dog/30", "hot dog/4", "hot dog/5"]


def test_plain_and_compressed_files_are_the_same(tmp_path: Path) -> None:
    lines = [line("30"), line("4")]
    for folder, name in (("plain", "cat.ndjson"), ("zipped", "cat.ndjson.gz")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / name, lines)
    assert open_source(tmp_path / "plain").samples(0) == open_source(tmp_path / "zipped").samples(0)


def test_a_single_file_and_googles_file_names(tmp_path: Path) -> None:
    write(tmp_path / "full_simplified_cat.ndjson", [line()])
    write(tmp_path / "full_raw_dog.ndjson", [line()])
    assert open_source(tmp_path).class_names == ("cat", "dog")
    assert open_source(tmp_path / "full_raw_dog.ndjson").class_names == ("dog",)


def test_two_files_for_one_class_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [line()])
    write(tmp_path / "cat.ndjson.gz", [line()])
    with pytest.raises(DataError, match=r"'cat' is already in cat\.ndjson"):
        QuickDrawSource(tmp_path)


def test_a_broken_line_is_known_by_its_number(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [line("7"), b"{broken\n", b"\n", b"[1]\n", b"[" * 100_000 + b"\n"])
    found = [sample.id for sample in open_source(tmp_path).samples(0)]
    assert found == ["cat/7", "cat/line-000000002", "cat/line-000000004", "cat/line-000000005"]


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(line(str(key)) for key in range(100)))
    (tmp_path / "cat.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cat\.ndjson\.gz: cannot be read to its end"):
        open_source(tmp_path).samples(0)


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(b"x" * 100, mtime=0)[:10] + b"\xff" * 50], ids=["text", "damaged"]
)
def test_a_file_that_is_not_gzip_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cat.ndjson.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cat\.ndjson\.gz: cannot be read to its end"):
        open_source(tmp_path).samples(0)


def test_a_class_without_drawings(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [b"\n"])
    with pytest.raises(DataError, match="class 'cat' has no drawing"):
        open_source(tmp_path).samples(0)


@pytest.mark.parametrize(
    ("key", "id"),
    [
        ("\ud800", r"cat/\ud800"),
        ("a\nb", r"cat/a\x0ab"),
        ("\x1b[31m", r"cat/\x1b[31m"),
        ("\u2028", r"cat/\u2028"),
        (r"\ud800", r"cat/\x5cud800"),
        (5, "cat/5"),
        (None, "cat/None"),
        ("", "cat/line-000000001"),
        ("x" * 101, "cat/line-000000001"),
    ],
)
def test_m8_any_key_becomes_an_id_of_one_line(tmp_path: Path, key: object, id: str) -> None:
    """M8: half a surrogate pair as key_id ended in a UnicodeEncodeError."""
    write(tmp_path / "cat.ndjson", [line(key)])
    (sample,) = open_source(tmp_path).samples(0)
    assert sample.id == id
    assert sample.id.encode()


def test_drawings_of_the_same_key_have_ids_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [line("7"), line("7, drawing 3"), line("7"), line(7)])
    ids = [sample.id for sample in open_source(tmp_path).samples(0)]
    assert ids == ["cat/7", "cat/7, drawing 3", "cat/7, drawing 3, drawing 3", "cat/7, drawing 4"]


@pytest.mark.parametrize("name", ["cat.ndjson", "cat.ndjson.gz"])
def test_m10_what_is_no_file_is_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    """M10: a named pipe called x.ndjson hung the conversion."""
    write(tmp_path / "dog.ndjson", [line()])
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nothing"), lambda path: path.symlink_to(path)):
        make(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: not a file"):
            open_source(tmp_path)
        (tmp_path / name).rmdir() if make is Path.mkdir else (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: not a file"):
        open_source(tmp_path / name)


def test_m10_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [line()])
    source = open_source(tmp_path)
    (tmp_path / "cat.ndjson").unlink()
    os.mkfifo(tmp_path / "cat.ndjson")
    with pytest.raises(DataError, match=r"cat\.ndjson: cannot be read to its end \(not a file, but a named pipe\)"):
        source.samples(0)


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_a_line_that_would_take_all_memory_is_passed_over(tmp_path: Path, suffix: str) -> None:
    long = line(drawing=[[[1] * 3_000_000, [2] * 3_000_000]])
    write(tmp_path / f"cat{suffix}", [line("1"), long, line("3"), long])
    first, third, *others = open_source(tmp_path).samples(0)
    assert [first.id, third.id] == ["cat/1", "cat/3"]
    assert [sample.id for sample in others] == ["cat/line-000000002", "cat/line-000000004"]
    for sample in others:
        with pytest.raises(ValueError, match="a line of more than 4,194,304 bytes"):
            parse_drawing(sample.line)


@pytest.mark.parametrize("name", ["a\nb.ndjson", "a\x1bb.ndjson"])
def test_m8_a_file_name_of_several_lines_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [line()])
    with pytest.raises(DataError, match=r"the file name 'a\\x.*' is not UTF-8 or not one line") as caught:
        open_source(tmp_path)
    assert "\n" not in caught.value.message


def test_strokes_are_points_of_x_and_y() -> None:
    first, second = parse_drawing(line())
    np.testing.assert_array_equal(first, np.array([[0, 10], [255, 10], [255, 200]], np.float32))
    np.testing.assert_array_equal(second, np.array([[5, 6]], np.float32))
    assert first.dtype == np.float32


def test_the_times_of_raw_drawings_are_dropped() -> None:
    (stroke,) = parse_drawing(line(drawing=[[[1.5, 2], [3, 4], [0, 16]]]))
    np.testing.assert_array_equal(stroke, np.array([[1.5, 3], [2, 4]], np.float32))


def test_numbers_are_rounded_as_numpy_does() -> None:
    values = [0, -0.0, 1, 2.5, 0.1, 16_777_217, 33_554_435, 2**70 + 1, 1e-46, 1e-40, -3.4028235e38, 1e38]
    (stroke,) = parse_drawing(line(drawing=[[values, values[::-1]]]))
    expected = np.array([values, values[::-1]], np.float32).T
    assert stroke.tolist() == expected.tolist()
    assert (np.signbit(stroke) == np.signbit(expected)).all()


@pytest.mark.parametrize("nothing", [[], [[]], [[], []], [[], [], []]], ids=str)
def test_strokes_of_no_points_are_dropped(nothing: list[object]) -> None:
    first, second = parse_drawing(line(drawing=[nothing, DRAWING[0], nothing, nothing, DRAWING[1], nothing]))
    np.testing.assert_array_equal(first, np.float32(DRAWING[0]).T)
    np.testing.assert_array_equal(second, np.float32(DRAWING[1]).T)


BROKEN = {
    "no JSON": b"{broken",
    "not UTF-8": b'{"drawing": "\xff"}',
    "a list": b"[1]",
    "no drawing": b'{"word": "cat"}',
    "a null drawing": line(drawing=None),
    "no strokes": line(drawing=[]),
    "empty strokes": line(drawing=[[[], []]]),
    "x without y": line(drawing=[[[1, 2]]]),
    "fewer y than x": line(drawing=[[[1, 2], [1]]]),
    "flat": line(drawing=[[1, 2]]),
    "numbers": line(drawing=[1, 2]),
    "words": line(drawing=[[["a"], ["b"]]]),
    "digits": line(drawing=[["12", "34"]]),
    "fewer x than y in one of two": line(drawing=[[[1, 2], [1, 2]], [[1], [1, 2]]]),
    "nested": line(drawing=[[[[1]], [[2]]]]),
    "objects": line(drawing=[{"x": 1}]),
    "null points": line(drawing=[[[None, 1], [1, 2]]]),
    "not finite": b'{"drawing": [[[NaN, 1], [1, 2]]]}',
    "too large for float32": line(drawing=[[[1e39, 1], [1, 2]]]),
    "too large for any float": line(drawing=[[[10**400, 1], [1, 2]]]),
    "more digits than Python reads": b'{"drawing": [[[' + b"9" * 5000 + b"], [1]]]}",
    "nested too deep": b'{"drawing": ' + b"[" * 100_000,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_drawing_is_a_value_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_drawing(broken)


def test_google_s_own_drawings(shared_data: Path) -> None:
    source = open_source(shared_data / "data/quickdraw-strokes")
    assert len(source.class_names) == 345
    samples = source.samples(0)
    assert len(samples) == 150
    assert len({sample.id for sample in samples}) == 150
    for sample in samples:
        assert isinstance(sample, StrokeSample)
        points = np.concatenate(parse_drawing(sample.line))
        assert points.min() >= 0
        assert points.max() <= 255
