"""One sample → one square gray image: decode, flatten alpha, gray, letterbox, resize.

Runs in the conversion's worker processes and needs neither torch nor the network.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fastsketch.conversion.fetch import content_at_url
from fastsketch.conversion.gray import FORMATS, file_gray, picture_gray, read_gray
from fastsketch.conversion.gray import DecodeError as DecodeError
from fastsketch.conversion.paper import Look, as_ink_on_paper, look_at
from fastsketch.conversion.reading import Reading as Reading
from fastsketch.conversion.resample import RESAMPLING as RESAMPLING
from fastsketch.conversion.resample import resized
from fastsketch.errors import FastSketchError, one_line, reason_of
from fastsketch.ink import PAPER
from fastsketch.sources.quickdraw import parse_points
from fastsketch.sources.sample import ContentSample, Sample, StoredSample, StrokeSample
from fastsketch.sources.strokes import draw, fitted
from fastsketch.urls import url_of

Seen: TypeAlias = tuple[npt.NDArray[np.uint8], Look]
"""An image, and what it looked like at its own size."""

STROKE_WIDTH = 1 / 96
"""Line width of rasterised strokes as a share of the side: 2.3 px at 224, about TU-Berlin's."""

STROKE_MARGIN = 1 / 32
"""Blank margin around rasterised strokes as a share of the side."""


def decode(sample: Sample, reading: Reading) -> npt.NDArray[np.uint8]:
    """Decode a sample to uint8 [size, size], paper = 255. Arguments and errors as those of `decode_seen`."""
    return decode_seen(sample, reading)[0]


def decode_seen(sample: Sample, reading: Reading) -> Seen:
    """Decode a sample to uint8 [size, size], paper = 255, and say what it looked like.

    Args:
        sample: An image file or its content, a drawing as strokes, or an image that was stored.
        reading: How.

    Raises:
        DecodeError: The file is missing, no regular file, truncated, not an image or too large, or the strokes are no
            drawing.
        FastSketchError: The file is at a URL, and cannot be fetched.
    """
    if isinstance(sample, StrokeSample):
        return draw_strokes(sample.line, reading.size), Look()
    if isinstance(sample, StoredSample):
        return _read_stored(sample, reading.size), Look()
    if isinstance(sample, ContentSample):
        return decode_content(sample.content, reading)
    if url_of(sample.path):
        return decode_content(content_at_url(sample), reading)
    with _told():
        return _stored(read_gray(sample.path, reading.size), reading)


def draw_strokes(line: bytes, size: int, width: float = STROKE_WIDTH) -> npt.NDArray[np.uint8]:
    """Draw a Quick, Draw! record as large as the margin allows: uint8 [size, size], paper = 255.

    Args:
        line: JSON.
        size: Side in pixels.
        width: Of lines, as a share of the side, within (0, 16).

    Raises:
        DecodeError: It is no drawing.
        ValueError: `size` or `width` out of range.
    """
    try:
        points, ends = parse_points(line)
    except ValueError as error:
        raise DecodeError(one_line(error, 200)) from error
    return draw(fitted(points, STROKE_MARGIN), ends, size, width)


def _read_stored(sample: StoredSample, size: int) -> npt.NDArray[np.uint8]:
    if sample.failure:
        raise DecodeError(sample.failure)
    pixels = np.fromfile(sample.path, np.uint8, size * size, offset=sample.offset)
    return pixels.reshape(size, size)


def decode_content(content: bytes, reading: Reading) -> Seen:
    """The same for what an image file holds."""
    with _told():
        return _stored(file_gray(io.BytesIO(content), len(content), reading.size), reading)


def decode_picture(image: Image.Image, reading: Reading) -> npt.NDArray[np.uint8]:
    """The same for what Pillow has opened or made."""
    with _told():
        return _stored(picture_gray(image, reading.size), reading)[0]


@contextmanager
def _told() -> Iterator[None]:
    """Whatever is wrong with a picture as a DecodeError of one line."""
    try:
        yield
    except (DecodeError, FastSketchError):  # a library that is missing, for one
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(f"not an image of a format that is read: {', '.join(sorted(FORMATS))}") from error
    except Exception as error:
        # For a damaged file Pillow raises, depending on the format, OSError, ValueError, SyntaxError, MemoryError and
        # DecompressionBombError, but also struct.error, TypeError, AttributeError and whatever else comes up in it.
        raise DecodeError(reason_of(error)) from error


def _stored(pixels: npt.NDArray[np.uint8], reading: Reading) -> Seen:
    pixels = as_ink_on_paper(pixels, reading)
    return _square(pixels, reading), look_at(pixels)


def _square(pixels: npt.NDArray[np.uint8], reading: Reading) -> npt.NDArray[np.uint8]:
    """Shrink or enlarge to fit size × size, keep the aspect, and centre on paper: nothing is ever cut off."""
    size, longest = reading.size, max(pixels.shape)
    height, width = (max(1, round(side * size / longest)) for side in pixels.shape)
    if (height, width) != pixels.shape:
        pixels = resized(pixels, height, width, reading.resize)
    if width == height:
        return pixels
    square = np.full((size, size), PAPER, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
