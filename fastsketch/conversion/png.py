"""The one kind of file that sketches come in, decoded fast: PNG of 8-bit gray, without transparency or rotation.

Pillow inflates row by row; libdeflate inflates the whole at once, six times faster. Whatever is not plain, damaged or
merely unusual is left to Pillow, which then decides what it means; what is decoded here equals Pillow's, bit by bit.
Without the extra `fast` (imagecodecs) everything is left to Pillow.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

LARGEST = 1 << 26
"""Bytes of a file that is decoded here, where it is in memory several times."""

_PLAIN = frozenset({b"IHDR", b"IDAT", b"IEND", b"bKGD", b"pHYs", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"sBIT"})
"""Chunks that say nothing about gray values or orientation."""


def read_gray_png(file: BinaryIO, length: int) -> npt.NDArray[np.uint8] | None:
    """Decode a plain 8-bit gray PNG, from the beginning of a file of `length` bytes, to uint8 [height, width].

    Returns:
        None for everything else.

    Raises:
        OSError: The file cannot be read.
    """
    codecs = _imagecodecs()
    if codecs is None:
        return None
    if length > LARGEST or file.read(len(_SIGNATURE)) != _SIGNATURE:
        return None
    data = file.read(length)  # Python sets so much memory aside: LARGEST would take 80 µs, a twelfth of the whole
    parsed = _parse(data)
    if parsed is None:
        return None
    width, height, deflated = parsed
    # A byte before each row names the filter that was applied to it.
    try:
        inflated = codecs.deflate_decode(deflated, out=height * (width + 1))
    except (RuntimeError, ValueError):
        return None
    if len(inflated) != height * (width + 1):
        return None
    rows = np.frombuffer(inflated, np.uint8).reshape(height, width + 1)
    if not rows[:, 0].any():
        return rows[:, 1:]
    try:
        decoded = codecs.spng_decode(_SIGNATURE + data)
    except (RuntimeError, ValueError):
        return None
    return decoded if decoded.shape == (height, width) and decoded.dtype == np.uint8 else None


@cache
def _imagecodecs() -> Any:
    """imagecodecs with the decoders that are needed, or None."""
    try:
        codecs = importlib.import_module("imagecodecs")
        return codecs if codecs.DEFLATE.available and codecs.SPNG.available else None
    except (ImportError, AttributeError):
        return None


def _parse(data: bytes) -> tuple[int, int, bytes] | None:
    """Width, height and deflated rows of a plain gray PNG without its signature, all checksums verified; else None."""
    view = memoryview(data)
    position, header, rows = 0, None, []
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body, end = view[position + 8 : position + 8 + length], position + 12 + length
        if end > len(data) or zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return None
        if kind == b"IHDR" and header is None and position == 0 and length == 13:
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            rows.append(body)
        elif kind == b"IEND":
            break
        elif kind not in _PLAIN and not (kind == b"tEXt" and bytes(body[:3]) != b"Raw"):  # "Raw profile type exif"
            return None
        position = end
    else:
        return None
    if header is None or header[2:] != (8, 0, 0, 0, 0):
        return None
    width, height = header[:2]
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or width * height):
        return None
    return width, height, b"".join(rows)
