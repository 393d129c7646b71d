"""The fast path must be Pillow's, bit by bit, or leave the file to Pillow."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fastsketch.conversion import png
from fastsketch.conversion.decode import DecodeError, Reading, decode
from fastsketch.conversion.png import read_gray_png
from fastsketch.sources.sample import ImageSample

fast = pytest.mark.skipif(png._imagecodecs() is None, reason="needs imagecodecs")

MODES = ("L", "1", "LA", "P", "RGB", "RGBA", "I;16")


def sketch(height: int, width: int, seed: int) -> np.ndarray:
    """A few strokes and some noise."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width), 255, np.uint8)
    pixels[rng.integers(height)] = 0
    pixels[:, rng.integers(width)] = rng.integers(0, 256, height)
    return pixels


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def plain_png(pixels: np.ndarray, *extra: bytes, parts: int = 1) -> bytes:
    """A PNG without filters, as MATLAB writes TU-Berlin's, its data in so many chunks."""
    height, width = pixels.shape
    data = zlib.compress(np.pad(pixels, ((0, 0), (1, 0))).tobytes())
    cuts = [len(data) * part // parts for part in range(parts + 1)]
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            *extra,
            *(chunk(b"IDAT", data[start:stop]) for start, stop in pairwise(cuts)),
            chunk(b"IEND", b""),
        ]
    )


def read(path: Path) -> np.ndarray | None:
    with path.open("rb") as file:
        return read_gray_png(file, path.stat().st_size)


def outcome(path: Path, size: int) -> bytes | str:
    try:
        return decode(ImageSample("x", path), Reading(size, "bilinear")).tobytes()
    except DecodeError as error:
        return str(error)


@pytest.fixture
def pillow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_imagecodecs", lambda: None)


@fast
def test_plain_files_take_the_fast_path(tmp_path: Path) -> None:
    pixels = sketch(37, 51, 0)
    for number, content in enumerate(
        [
            plain_png(pixels),
            plain_png(pixels, parts=5),
            plain_png(pixels, chunk(b"bKGD", b"\0\xff"), chunk(b"tEXt", b"Software\0MATLAB")),
        ]
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        assert np.array_equal(read(path), pixels)
    Image.fromarray(pixels).save(tmp_path / "filtered.png")
    assert np.array_equal(read(tmp_path / "filtered.png"), pixels)


@fast
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(plain_png(sketch(9, 9, 0), chunk(b"tRNS", b"\0\0")), id="transparent"),
        pytest.param(plain_png(sketch(9, 9, 0), chunk(b"eXIf", b"MM\0*\0\0\0\x08")), id="exif"),
        pytest.param(plain_png(sketch(9, 9, 0), chunk(b"tEXt", b"Raw profile type exif\0x")), id="exif as text"),
        pytest.param(plain_png(sketch(9, 9, 0), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")), id="xmp"),
        pytest.param(plain_png(sketch(9, 9, 0), chunk(b"acTL", b"\0\0\0\1\0\0\0\0")), id="animated"),
        pytest.param(plain_png(sketch(9, 9, 0))[:-20], id="truncated"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="signature alone"),
        pytest.param(plain_png(np.empty((0, 5), np.uint8)), id="no rows"),
    ],
)
def test_all_else_is_left_to_pillow(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    assert read(path) is None


@fast
@pytest.mark.parametrize("mode", MODES[1:])
def test_other_modes_are_left_to_pillow(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(sketch(20, 20, 1)).convert(mode)
    image.save(tmp_path / "x.png")
    assert read(tmp_path / "x.png") is None


@fast
def test_a_rotation_in_any_metadata_is_heeded(tmp_path: Path) -> None:
    image = Image.fromarray(sketch(20, 30, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "exif.png", exif=exif)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "upright")
    image.save(tmp_path / "plain.png", pnginfo=info)
    turned = decode(ImageSample("x", tmp_path / "exif.png"), Reading(30, "bilinear"))
    upright = decode(ImageSample("x", tmp_path / "plain.png"), Reading(30, "bilinear"))
    assert np.array_equal(turned, np.rot90(upright, -1))


@fast
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    seed=st.integers(0, 99),
    mode=st.sampled_from(MODES),
    filtered=st.booleans(),
    damage=st.one_of(st.none(), st.tuples(st.floats(0, 0.999), st.integers(1, 255)), st.floats(0, 0.999)),
)
def test_what_comes_out_is_what_pillow_says(tmp_path, monkeypatch, height, width, seed, mode, filtered, damage) -> None:
    """Also for files that were cut off or have a byte that is wrong: the same pixels, or the same refusal."""
    content = plain_png(sketch(height, width, seed))
    if mode != "L" or filtered:
        stream = io.BytesIO()
        Image.fromarray(sketch(height, width, seed)).convert(mode).save(stream, "PNG")
        content = stream.getvalue()
    if isinstance(damage, tuple):
        position = int(damage[0] * len(content))
        content = content[:position] + bytes([content[position] ^ damage[1]]) + content[position + 1 :]
    elif damage is not None:
        content = content[: int(damage * len(content))]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    ours = outcome(path, 16)
    with monkeypatch.context() as patch:
        patch.setattr(png, "_imagecodecs", lambda: None)
        assert outcome(path, 16) == ours


def test_without_imagecodecs_everything_is_left_to_pillow(tmp_path: Path, pillow_alone: None) -> None:
    pixels = sketch(24, 24, 3)
    (tmp_path / "x.png").write_bytes(plain_png(pixels))
    assert read(tmp_path / "x.png") is None
    assert np.array_equal(decode(ImageSample("x", tmp_path / "x.png"), Reading(24, "bilinear")), pixels)


def test_a_broken_imagecodecs_is_no_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    png._imagecodecs.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "imagecodecs", None)
            assert png._imagecodecs() is None
    finally:
        png._imagecodecs.cache_clear()


@fast
def test_real_sketches_are_pillows(shared_data: Path) -> None:
    paths = sorted((shared_data / "data" / "tuberlin1111").glob("*/*.png"))[::40]
    for path in paths:
        with Image.open(path) as image:
            assert np.array_equal(read(path), np.asarray(image))
