from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fastsketch.config import ConvertConfig
from fastsketch.conversion.decode import RESAMPLING, DecodeError, Reading, decode
from fastsketch.sources.sample import ImageSample, StrokeSample

Pixels = npt.NDArray[np.uint8]

SIDE = 32
ORIENTATION = 0x0112


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., Pixels]:
    """A function that saves an image under a name, with Pillow's options, and decodes it, by default at its size."""

    def save_and_decode(image: Image.Image, name: str, size: int = 0, resize: str = "bilinear", **options) -> Pixels:
        image.save(tmp_path / name, **options)
        return decode(ImageSample(name, tmp_path / name), Reading(size or max(image.size), resize))

    return save_and_decode


def figure() -> Image.Image:
    """Black on white, different in every orientation: a thick F."""
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 4, 13, 27), fill=0)
    pen.rectangle((8, 4, 25, 9), fill=0)
    pen.rectangle((8, 14, 20, 18), fill=0)
    return image


FIGURE: Pixels = np.asarray(figure())


def ramp() -> Pixels:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


# ------------------------------------------------------------------------------------------------ kinds of files


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.tif", "a.PNG"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_every_lossless_kind_of_file_gives_the_very_pixels(
    decoded: Callable[..., Pixels], name: str, mode: str
) -> None:
    pixels = decoded(figure().convert(mode), name)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, FIGURE)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_files_give_nearly_the_pixels(decoded: Callable[..., Pixels], name: str, mode: str) -> None:
    pixels = decoded(figure().convert(mode), name, quality=95)
    np.testing.assert_allclose(pixels.astype(int), FIGURE, atol=40)
    np.testing.assert_array_equal(pixels < 128, FIGURE < 128)


def test_eight_bits_come_out_as_they_are(decoded: Callable[..., Pixels]) -> None:
    np.testing.assert_array_equal(decoded(Image.fromarray(ramp()), "a.png"), ramp())


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(decoded: Callable[..., Pixels], name: str) -> None:
    wide = ramp().astype(np.uint16) * 257
    np.testing.assert_array_equal(decoded(Image.fromarray(wide), name), ramp())
    # Rounded to the nearest, not down.
    np.testing.assert_array_equal(decoded(Image.fromarray(np.clip(wide, 128, None) - 128), name)[1:], ramp()[1:])


def test_floats_are_taken_for_shares_of_white(decoded: Callable[..., Pixels]) -> None:
    np.testing.assert_array_equal(decoded(Image.fromarray((ramp() / 255).astype(np.float32)), "a.tif"), ramp())


def test_colours_become_their_luma(decoded: Callable[..., Pixels]) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    # ITU-R 601, as in Pillow and torchvision.
    np.testing.assert_array_equal(decoded(Image.fromarray(colours), "a.png"), [[76, 150], [29, 255]])


def test_cmyk_jpeg_is_not_a_negative(decoded: Callable[..., Pixels]) -> None:
    pixels = decoded(figure().convert("RGB").convert("CMYK"), "a.jpg", quality=95)
    np.testing.assert_array_equal(pixels < 128, FIGURE < 128)
    assert pixels[0, 0] > 250
    assert pixels[6, 10] < 10


# ------------------------------------------------------------------------------------------------- transparency


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("hidden", [0, 90, 255])
def test_what_is_transparent_is_white_paper_whatever_its_colour(
    decoded: Callable[..., Pixels], mode: str, hidden: int
) -> None:
    image = Image.new("L", (SIDE, SIDE), hidden)
    image.paste(0, mask=figure().point(lambda gray: 255 - gray))
    image = image.convert(mode)
    image.putalpha(figure().point(lambda gray: 255 - gray))
    np.testing.assert_array_equal(decoded(image, "a.png"), FIGURE)


@pytest.mark.parametrize(("alpha", "gray"), [(0, 255), (51, 204), (128, 127), (255, 0)])
def test_half_transparent_ink_is_half_gray(decoded: Callable[..., Pixels], alpha: int, gray: int) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, alpha))
    assert np.unique(decoded(image, "a.png")).tolist() == [gray]


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_transparent_palette_entry_is_paper(decoded: Callable[..., Pixels], name: str) -> None:
    image = Image.fromarray((FIGURE == 0).astype(np.uint8), mode="L").convert("P")
    image.putpalette([10, 20, 30, 0, 0, 0])  # 0: dark, but transparent; 1: black
    np.testing.assert_array_equal(decoded(image, name, transparency=0), FIGURE)


def test_a_palette_with_degrees_of_transparency(decoded: Callable[..., Pixels]) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), mode="L").convert("P")
    image.putpalette([0] * 12)
    pixels = decoded(image, "a.png", transparency=bytes([0, 51, 255, 255]))
    np.testing.assert_array_equal(pixels, [[255, 204], [0, 0]])


def test_a_palette_is_looked_up(decoded: Callable[..., Pixels]) -> None:
    image = Image.fromarray((FIGURE == 0).astype(np.uint8), mode="L").convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])  # the index is no gray value
    np.testing.assert_array_equal(decoded(image, "a.png"), FIGURE)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_colour_declared_transparent_is_paper(decoded: Callable[..., Pixels], mode: str) -> None:
    image = Image.new(mode, (SIDE, SIDE), "#141414")
    image.paste("black", mask=figure().point(lambda gray: 255 - gray))
    transparent = 0x14 if mode == "L" else (0x14, 0x14, 0x14)
    np.testing.assert_array_equal(decoded(image, "a.png", transparency=transparent), FIGURE)


# ------------------------------------------------------------------------------------------------ EXIF rotation


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def stored(upright: Pixels, orientation: int) -> Pixels:
    """How a camera stores `upright` under an EXIF orientation."""
    turned = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[orientation]  # quarter turns anticlockwise
    pixels = np.rot90(upright, turned)
    if orientation in (2, 4):
        pixels = pixels[:, ::-1]
    elif orientation in (5, 7):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright(decoded: Callable[..., Pixels], orientation: int) -> None:
    upright = FIGURE[:, 4:28]  # not square: the sides are exchanged, too
    image = Image.fromarray(stored(upright, orientation))
    pixels = decoded(image, "a.jpg", quality=95, exif=exif(orientation))
    assert (pixels[:, :4] == 255).all()
    np.testing.assert_array_equal(pixels[:, 4:28] < 128, upright < 128)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "RGBA"])
def test_other_files_are_turned_upright(decoded: Callable[..., Pixels], name: str, kind: str) -> None:
    turned = Image.fromarray(stored(FIGURE, 6))
    if kind == "16 bits":
        turned = Image.fromarray(np.asarray(turned).astype(np.uint16) * 257)
    elif kind == "RGBA":
        turned = turned.convert("RGBA")
    np.testing.assert_array_equal(decoded(turned, name, exif=exif(6)), FIGURE)


# ---------------------------------------------------------------------------------------------------- letterbox


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 120), height=st.integers(1, 120), size=st.integers(8, 64))
def test_an_image_fits_uncut_centred_with_paper_around(
    decoded: Callable[..., Pixels], width: int, height: int, size: int
) -> None:
    pixels = decoded(Image.new("L", (width, height), 0), "a.bmp", size)
    longest = max(width, height)
    rows, columns = np.nonzero(pixels < 255)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert pixels.shape == (size, size)
    assert abs((right - left) - max(1, width * size / longest)) <= 0.5
    assert abs((bottom - top) - max(1, height * size / longest)) <= 0.5
    assert max(right - left, bottom - top) == size
    assert 0 <= (size - right) - left <= 1  # an odd pixel more of paper lies on the right, and below
    assert 0 <= (size - bottom) - top <= 1
    assert (pixels[top:bottom, left:right] == 0).all()
    assert np.count_nonzero(pixels < 255) == (bottom - top) * (right - left)


@pytest.mark.parametrize("shape", [(100, 300), (300, 100), (200, 200)])
def test_nothing_is_cut_off(decoded: Callable[..., Pixels], shape: tuple[int, int]) -> None:
    height, width = shape
    pixels = np.full(shape, 255, np.uint8)
    pixels[[0, -1], :] = pixels[:, [0, -1]] = 0  # a frame of one pixel
    found = decoded(Image.fromarray(pixels), "a.png", 100)
    rows, columns = (np.flatnonzero((found < 250).any(axis=axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == 100 * height // max(shape)
    assert columns[-1] - columns[0] + 1 == 100 * width // max(shape)
    for edge in (found[rows[0]], found[rows[-1]], found[:, columns[0]], found[:, columns[-1]]):
        assert (edge < 250).sum() >= 33


def test_the_paper_around_a_transparent_image_is_white(decoded: Callable[..., Pixels]) -> None:
    pixels = decoded(Image.new("RGBA", (40, 10), (0, 0, 0, 0)), "a.png", 20)
    assert (pixels == 255).all()


# ----------------------------------------------------------------------------------------------------- resizing


def thin_lines() -> Image.Image:
    """TU-Berlin's size, with an upright and a slanted line one pixel wide."""
    image = Image.new("L", (1111, 1111), 255)
    pen = ImageDraw.Draw(image)
    pen.line((300, 0, 300, 1110), fill=0, width=1)
    pen.line((600, 0, 1000, 1110), fill=0, width=1)
    return image


@pytest.mark.parametrize("resize", [ConvertConfig().resize, *sorted(set(RESAMPLING) - {"nearest"})])
def test_a_thin_line_survives_shrinking(decoded: Callable[..., Pixels], resize: str) -> None:
    image = thin_lines()
    pixels = decoded(image, "a.png", 64, resize)
    left, right = pixels[:, :30], pixels[:, 30:]
    assert (left.min(axis=1) < 252).all()
    assert (right.min(axis=1) < 252).all()
    # Anti-aliasing keeps the amount of ink.
    ink = 255 - np.asarray(image, float).mean()
    assert 255 - pixels.mean() == pytest.approx(ink, rel=0.2)  # lanczos adds halos


def test_without_anti_aliasing_it_would_not(decoded: Callable[..., Pixels]) -> None:
    pixels = decoded(thin_lines(), "a.png", 64, "nearest")
    assert (pixels.min(axis=1) == 255).any()


def test_small_images_are_enlarged(decoded: Callable[..., Pixels]) -> None:
    pixels = decoded(figure(), "a.png", 4 * SIDE)
    np.testing.assert_array_equal(pixels[2::4, 2::4] < 128, FIGURE < 128)


# ------------------------------------------------------------------------------------------------ damaged files


def encoded(format: str, **options) -> bytes:
    buffer = io.BytesIO()
    figure().convert("RGB").save(buffer, format, **options)
    return buffer.getvalue()


FILES = {
    "a.png": encoded("PNG", exif=exif(6)),
    "a.jpg": encoded("JPEG", exif=exif(6)),
    "a.gif": encoded("GIF"),
    "a.bmp": encoded("BMP"),
    "a.webp": encoded("WEBP", exif=exif(6)),
    "a.tif": encoded("TIFF", exif=exif(6)),
    "a.ppm": encoded("PPM"),
}


def decode_bytes(folder: Path, name: str, data: bytes) -> Pixels:
    (folder / name).write_bytes(data)
    return decode(ImageSample(name, folder / name), Reading(16, "bilinear"))


@pytest.mark.parametrize("name", FILES)
def test_truncated_images_are_not_half_decoded(tmp_path: Path, name: str) -> None:
    decode_bytes(tmp_path, name, FILES[name])
    with pytest.raises(DecodeError, match=r".+") as caught:
        decode_bytes(tmp_path, name, FILES[name][: len(FILES[name]) * 2 // 3])
    assert str(tmp_path) not in str(caught.value)  # whoever reports it names the sample


@pytest.mark.parametrize("data", [b"", b"\0", b"not an image", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_image(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DecodeError, match="not an image"):
        decode_bytes(tmp_path, "a.png", data)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="No such file"):
        decode(ImageSample("a", tmp_path / "a.png"), Reading(16, "bilinear"))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(DecodeError, match="not a file, but a folder"):
        decode(ImageSample("b", tmp_path / "b.png"), Reading(16, "bilinear"))


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE // 2 - 1)
    with pytest.raises(DecodeError, match="decompression bomb"):
        decode_bytes(tmp_path, "a.png", FILES["a.png"])


def test_metadata_that_are_damaged_turn_an_image_all_the_same(tmp_path: Path) -> None:
    # Pillow's own turning rewrites EXIF data, and on a number of the wrong type fails with struct.error.
    tags = exif(6)
    tags[0x0100] = 5
    data = bytearray(encoded("JPEG", exif=tags))
    at = data.find(bytes([0x01, 0x00, 0, 4])) if b"MM\0*" in data else data.find(bytes([0x00, 0x01, 4, 0]))
    assert at > 0
    data[at + 2 : at + 4] = bytes([0, 7]) if b"MM\0*" in data else bytes([7, 0])
    turned = decode_bytes(tmp_path, "a.jpg", bytes(data))
    np.testing.assert_array_equal(turned, decode_bytes(tmp_path, "b.jpg", encoded("JPEG", exif=exif(6))))


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it found
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_decodes_or_is_a_decode_error(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_bytes(tmp_path, name, bytes(content[: data.draw(st.integers(0, len(content)))]))
    except DecodeError:
        return
    assert pixels.shape == (16, 16)
    assert pixels.dtype == np.uint8


# ------------------------------------------------------------------------------------------------------ strokes


def drawing(strokes: object) -> StrokeSample:
    return StrokeSample("cat/1", json.dumps({"drawing": strokes}).encode())


def test_strokes_are_upright_black_on_white_and_fill_the_square() -> None:
    # An F again, in canvas units: x right, y down.
    pixels = decode(drawing([[[0, 0], [0, 200]], [[0, 100], [0, 0]], [[0, 60], [100, 100]]]), Reading(64, "bilinear"))
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0] == 255
    rows, columns = np.nonzero(pixels < 128)
    assert rows.min() <= 4
    assert rows.max() >= 59
    assert abs(columns.min() - (63 - columns.max())) <= 1  # centred
    assert (pixels[:4] < 128).sum() > (pixels[-4:] < 128).sum()  # the bar is on top


@pytest.mark.parametrize("size", [8, 28, 96, 224, 512])
def test_strokes_are_rasterised_at_any_size_and_anti_aliased(size: int) -> None:
    pixels = decode(drawing([[[0, 200, 130], [0, 90, 255]]]), Reading(size, "bilinear"))
    assert pixels.shape == (size, size)
    assert len(np.unique(pixels)) > 2
    assert pixels.min() < 128
    assert pixels.max() == 255


@pytest.mark.parametrize("line", [b"", b"{broken", b'{"drawing": []}', b"[" * 100_000])
def test_a_broken_drawing_is_a_decode_error(line: bytes) -> None:
    with pytest.raises(DecodeError, match=r".+"):
        decode(StrokeSample("cat/1", line), Reading(32, "bilinear"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=32) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)
numbers = st.lists(st.floats(width=32) | st.integers(-(10**40), 10**40), max_size=4)


@settings(deadline=None)
@given(json_values | st.lists(st.lists(numbers, max_size=3), max_size=3))
def test_any_json_is_a_drawing_or_a_decode_error(strokes: object) -> None:
    try:
        pixels = decode(drawing(strokes), Reading(16, "bilinear"))
    except DecodeError:
        return
    assert pixels.shape == (16, 16)
    assert pixels.dtype == np.uint8
