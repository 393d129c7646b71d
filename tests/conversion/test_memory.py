"""M9: a worker decodes whatever file it meets within a bound of memory, or says in one line why it will not."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from fastsketch.conversion import gray
from fastsketch.conversion.decode import DecodeError, Reading, decode
from fastsketch.conversion.gray import MEMORY, read_gray
from fastsketch.sources.sample import ImageSample

GIB = 1 << 30

CHILD = """
import json, re, sys
from pathlib import Path
from PIL import Image
from fastsketch.conversion import convert, gray
from fastsketch.conversion.decode import DecodeError, Reading, decode
from fastsketch.sources.sample import ImageSample

def status(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

path, before = Path(sys.argv[1]), status("VmRSS")
try:
    decode(ImageSample("x", path), Reading(224, "lanczos"))
    reason = None
except DecodeError as error:
    reason = str(error)
peak = status("VmHWM")
Image.MAX_IMAGE_PIXELS = None
try:
    with Image.open(path) as image:
        estimate = sum(gray._bytes_a_pixel(image)) * image.width * image.height
except Exception:
    estimate = None
print(json.dumps({"peak": peak, "taken": peak - before, "estimate": estimate, "reason": reason}))
"""
"""A process's peak, and what it needed for an image beyond what a worker has loaded anyway."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def measured(path: Path) -> dict:
    child = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def page(side: int) -> Image.Image:
    """Lines, not blank paper, so that nothing is spared."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[::97] = 0
    pixels[:, ::101] = 30
    return Image.fromarray(pixels)


def sixteen(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def shares(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) / 255).astype(np.float32))


def mode(name: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: (image.convert("RGB") if name in ("CMYK", "RGBA") else image).convert(name)


def turned() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


KINDS: dict[str, tuple[Callable[[Image.Image], Image.Image], dict]] = {
    "16 bits.png": (sixteen, {"compress_level": 1}),
    "RGBA.png": (mode("RGBA"), {"compress_level": 1, "exif": turned()}),
    "LA.png": (mode("LA"), {"compress_level": 1}),
    "P.png": (mode("P"), {"compress_level": 1, "transparency": bytes([0, 10, 20])}),
    "progressive.jpg": (mode("RGB"), {"progressive": True, "subsampling": 0, "exif": turned()}),
    "CMYK.jpg": (mode("CMYK"), {"progressive": True}),
    "float.tif": (shares, {"compression": "tiff_deflate", "exif": turned()}),
    "one strip.tif": (mode("RGBA"), {"compression": "tiff_lzw", "strip_size": 1 << 30, "exif": turned()}),
    "animated.gif": (mode("P"), {"save_all": True, "append_images": [Image.new("P", (2500, 2500), 7)]}),
    "RGB.bmp": (mode("RGB"), {}),
    "RGB.ppm": (mode("RGB"), {}),
    "lossless.webp": (mode("RGBA"), {"lossless": True, "quality": 0, "method": 0}),
}


@linux
@pytest.mark.parametrize("name", KINDS)
def test_m9_an_image_takes_no_more_than_was_estimated_from_its_header(tmp_path: Path, name: str) -> None:
    """M9: six million pixels show what 177 million would take: 5.1 GB it was, for 16 bits; a strip's width is extra."""
    convert, options = KINDS[name]
    convert(page(2500)).save(tmp_path / name, **options)
    result = measured(tmp_path / name)
    assert result["reason"] is None
    assert result["taken"] < result["estimate"] + 32e6


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, data: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")])


def zeros(length: int) -> bytes:
    """So many zero bytes, deflated, without ever being there as a whole."""
    deflate, block = zlib.compressobj(1), bytes(1 << 20)
    parts = [deflate.compress(block[: min(len(block), length - start)]) for start in range(0, length, len(block))]
    return b"".join([*parts, deflate.flush()])


@linux
def test_m9_the_largest_16_bit_png_stays_below_the_bound(tmp_path: Path) -> None:
    """M9: the very file, 13,300 x 13,300 of 16 bits, took 5.1 GB and 17 s."""
    side = 13_300
    (tmp_path / "x.png").write_bytes(png(side, side, 16, 0, zeros(side * (2 * side + 1))))
    result = measured(tmp_path / "x.png")
    assert result["reason"] is None
    assert result["peak"] < GIB


@pytest.mark.parametrize(("colour", "mode"), [(6, "RGBA"), (4, "LA"), (2, "RGB")])
def test_m9_what_would_take_more_is_named_as_too_large(tmp_path: Path, colour: int, mode: str) -> None:
    """M9: as RGBA or LA it took 3.4 GB. Refused by the header: there are no pixels in this file."""
    (tmp_path / "x.png").write_bytes(png(13_300, 13_300, 8, colour, b""))
    with pytest.raises(DecodeError) as caught:
        decode(ImageSample("x", tmp_path / "x.png"), Reading(224, "bilinear"))
    assert str(caught.value) == f"too large: 13,300 x 13,300 pixels ({mode}) would take 1.1 GB"


def test_m9_a_side_that_resizing_would_need_gigabytes_for(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(90_000_000, 1, 1, 0, zeros(11_250_001)))
    with pytest.raises(DecodeError, match="too large: 90,000,000 x 1 pixels"):
        decode(ImageSample("x", tmp_path / "x.png"), Reading(224, "lanczos"))


def test_m9_a_file_of_nothing_but_metadata(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(gray.LARGEST_FILE + 1)
    with pytest.raises(DecodeError, match="too large: the file has 180 MB"):
        decode(ImageSample("x", tmp_path / "x.png"), Reading(224, "bilinear"))


BOMBS = {
    "iCCP": (chunk(b"iCCP", b"a\0\0" + zeros(10**9)),),
    "zTXt": tuple(chunk(b"zTXt", b"a%d\0\0" % number + zeros(10**6)) for number in range(300)),
    "iTXt": (chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(10**9)),),
}


@linux
@pytest.mark.parametrize("kind", BOMBS)
def test_m9_metadata_that_unfold_to_gigabytes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.png").write_bytes(png(9, 9, 8, 0, zeros(90), *BOMBS[kind]))
    result = measured(tmp_path / "x.png")
    assert result["peak"] < 256e6


@linux
@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"eXIf", b"iTXt"])
def test_m9_the_largest_file_of_metadata_stays_below_the_bound(tmp_path: Path, kind: bytes) -> None:
    body = (b"MM\0*" if kind == b"eXIf" else b"XML:com.adobe.xmp\0\0\0\0\0").ljust(gray.LARGEST_FILE - 1000, b"\0")
    (tmp_path / "x.png").write_bytes(png(9, 9, 8, 0, zeros(90), chunk(kind, body)))
    assert measured(tmp_path / "x.png")["peak"] < GIB


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_m9_the_largest_image_of_each_kind_stays_below_the_bound(tmp_path: Path, name: str) -> None:
    convert, options = KINDS[name]
    sides = {"16": 13_300, "P": 13_300, "RGBA.png": 11_540, "LA": 11_540, "progressive": 8_160, "CMYK": 7_550}
    side = next((side for start, side in sides.items() if name.startswith(start)), 6_600)
    convert(page(side)).save(tmp_path / name, **options)
    result = measured(tmp_path / name)
    assert result["reason"] is None
    assert result["estimate"] <= MEMORY
    assert result["peak"] < GIB


# ------------------------------------------------------------------------------- and what comes out is what came out


def as_it_was(path: Path) -> npt.NDArray[np.uint8]:
    """All at once, turned by Pillow: how images were decoded before there was a bound."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode in gray._WIDE_MODES:
        return gray._narrow(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(image.convert("L"))


@pytest.mark.parametrize("strip", [1, 100, 999, 1 << 20])
@pytest.mark.parametrize("name", KINDS)
def test_strip_by_strip_is_the_same_as_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, strip: int
) -> None:
    monkeypatch.setattr(gray, "STRIP", strip)
    convert, options = KINDS[name]
    noise = np.random.default_rng(0).integers(0, 256, (61, 43), dtype=np.uint8)
    image = convert(Image.fromarray(noise))
    if "append_images" in options:
        options = {**options, "append_images": [image.rotate(180)]}
    image.save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_gray(tmp_path / name, 24), as_it_was(tmp_path / name))


def jpeg(side: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    page(side).convert("RGB").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_jpeg_too_large_to_be_held_is_reduced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(1600))
    whole = decode(ImageSample("x", tmp_path / "x.jpg"), Reading(64, "bilinear"))
    monkeypatch.setattr(gray, "MEMORY", 1600 * 1600 * 11)
    reduced = read_gray(tmp_path / "x.jpg", 64)
    assert reduced.shape == (400, 400)
    close = decode(ImageSample("x", tmp_path / "x.jpg"), Reading(64, "bilinear"))
    assert np.abs(close.astype(int) - whole).mean() < 3
    monkeypatch.setattr(gray, "MEMORY", 1600 * 1600 * 6)
    with pytest.raises(DecodeError, match="too large: 1,600 x 1,600 pixels"):
        read_gray(tmp_path / "x.jpg", 64)
