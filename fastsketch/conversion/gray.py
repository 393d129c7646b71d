"""An image file → its gray values, upright, on white paper, in bounded memory.

What an image takes depends on its format: a decoder may hold all of it several times before Pillow does, with up to
four bytes a pixel. It is estimated from the header and refused where it would be too much; and what Pillow holds is
made gray strip by strip, so that nothing wider is ever there as a whole.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fastsketch.conversion.png import read_gray_png
from fastsketch.ink import PAPER
from fastsketch.sources.files import open_regular

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Those that are known to be decoded within `MEMORY`, and that run no other program (as EPS does)."""

MEMORY = 800_000_000
"""Bytes that an image may take while it is decoded: with all that a worker has loaded, it stays below 1 GiB."""

LARGEST_FILE = 180_000_000
"""Bytes of a file: it may be nothing but metadata, of which Pillow has up to five copies."""

LONGEST_SIDE = 1 << 20
"""Pixels: resizing keeps weights for each, of up to 50 bytes."""

STRIP = 1 << 20
"""Pixels that are made gray together: as 64-bit numbers, which some are on the way, they take 8 MB."""

# A 16-bit gray PNG opens as one of these; Pillow's own conversion to "L" would clip at 255 rather than scale.
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})

_BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Of Pillow's modes; all others have four."""

_ORIENTATION = 0x0112


class DecodeError(Exception):
    """A sample cannot be decoded; the message is the reason, without the path."""


def read_gray(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Args:
        path: A regular file, or a link to one.
        size: The side in pixels that it will be resized to: a JPEG too large to be held is read at a fraction of its
            size, but of several times this one.

    Returns:
        uint8 [height, width], paper = 255.

    Raises:
        DecodeError: The image is too large.
        Exception: Whatever Pillow raises for a damaged file.
    """
    with open_regular(path) as file:
        return file_gray(file, os.fstat(file.fileno()).st_size, size)


def file_gray(file: BinaryIO, length: int, size: int) -> npt.NDArray[np.uint8]:
    """The same for an open file of `length` bytes, at its beginning."""
    check_length(length)
    pixels = read_gray_png(file, length)
    if pixels is not None:
        return pixels
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what it found and read nevertheless, and about large ones
        with Image.open(file, formats=FORMATS) as image:
            return picture_gray(image, size)


def check_length(length: int) -> None:
    """Refuse a file of more than `LARGEST_FILE` bytes.

    Raises:
        DecodeError: It has more.
    """
    if length > LARGEST_FILE:
        raise DecodeError(f"too large: the file has {length / 1e6:,.0f} MB, more than {LARGEST_FILE / 1e6:,.0f}")


def picture_gray(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The same for what Pillow has opened or made."""
    _make_fit(image, size)
    image.load()
    gray = _gray(image)
    return _upright(gray, image.getexif().get(_ORIENTATION, 1))


def _make_fit(image: Image.Image, size: int) -> None:
    """Make sure that the image can be decoded within `MEMORY`; a JPEG may be reduced to that end."""
    (width, height), full = image.size, image.width * image.height
    before, after = _bytes_a_pixel(image)
    if isinstance(image, JpegImageFile) and full * (before + after) > MEMORY:
        image.draft(image.mode, (4 * size, 4 * size))
    needed = full * before + image.width * image.height * after
    if needed > MEMORY:
        raise DecodeError(f"too large: {width:,} x {height:,} pixels ({image.mode}) would take {needed / 1e9:.1f} GB")
    if max(width, height) > LONGEST_SIDE:
        raise DecodeError(f"too large: {width:,} x {height:,} pixels, of which a side has at most {LONGEST_SIDE:,}")


def _bytes_a_pixel(image: Image.Image) -> tuple[float, float]:
    """What a decoder takes besides the pixels, and what the pixels and their gray values take."""
    held = _BYTES_A_PIXEL.get(image.mode, 4)
    if isinstance(image, JpegImageFile):
        before = 2.0 * image.layers  # the coefficients of all scans
    elif isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (1,))
        before = sum(bits) / 8  # it may be one strip
        if image.tag_v2.get(274, 1) != 1:
            before += held  # Pillow turns it by itself
    else:
        before = {"WEBP": 12, "GIF": 4, "PPM": 4, "BMP": 4}.get(image.format or "", 0)
        if any(tile[0] == "ppm_plain" for tile in getattr(image, "tile", [])):
            before = 40  # numbers as text, which Pillow reads in Python: half a minute for 20 million
    return before, held + 2


def _gray(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Any mode → uint8 [height, width], with transparency laid on white paper."""
    rows = max(1, STRIP // image.width)
    if image.height <= rows:
        return _strip_gray(image)
    gray = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        gray[top:bottom] = _strip_gray(image.crop((0, top, image.width, bottom)))
    return gray


def _strip_gray(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode in _WIDE_MODES:
        return _narrow(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image).convert("RGB")
    return np.asarray(image.convert("L"))


def _narrow(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """16-bit (or float [0, 1]) gray → 8-bit, rounding to the nearest."""
    values = pixels.astype(np.float64)
    full = 1.0 if np.issubdtype(pixels.dtype, np.floating) else 65535.0
    return np.rint(np.clip(values / full, 0, 1) * PAPER).astype(np.uint8)


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn an image as its EXIF orientation says: 1 to 8, anything else means nothing."""
    if orientation in (5, 7):
        pixels = pixels.T
    if orientation in (6, 8):
        pixels = np.rot90(pixels, 1 if orientation == 8 else -1)
    if orientation in (2, 3, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
