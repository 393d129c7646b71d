from __future__ import annotations

import gzip
import json
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
    path.write_bytes(gzip.compress(b"".join(lines)) if path.suffix == ".gz" else b"".join(lines))


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


@pytest.mark.parametrize("content", [b"no gzip at all", gzip.compress(b"x" * 100)[:10] + b"\xff" * 50])
def test_a_file_that_is_not_gzip_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cat.ndjson.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cat\.ndjson\.gz: cannot be read to its end"):
        open_source(tmp_path).samples(0)


def test_a_class_without_drawings(tmp_path: Path) -> None:
    write(tmp_path / "cat.ndjson", [b"\n"])
    with pytest.raises(DataError, match="class 'cat' has no drawing"):
        open_source(tmp_path).samples(0)


def test_strokes_are_points_of_x_and_y() -> None:
    first, second = parse_drawing(line())
    np.testing.assert_array_equal(first, np.array([[0, 10], [255, 10], [255, 200]], np.float32))
    np.testing.assert_array_equal(second, np.array([[5, 6]], np.float32))
    assert first.dtype == np.float32


def test_the_times_of_raw_drawings_are_dropped() -> None:
    (stroke,) = parse_drawing(line(drawing=[[[1.5, 2], [3, 4], [0, 16]]]))
    np.testing.assert_array_equal(stroke, np.array([[1.5, 3], [2, 4]], np.float32))


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
