"""From a request's body to what models are shown, within bounds that are looked at before anything is decoded."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastsketch.conversion.decode import STROKE_WIDTH, DecodeError, decode_content, draw_strokes
from fastsketch.conversion.reading import Reading
from fastsketch.serve.schema import LEAST_WIDTH, MOST_WIDTH

MOST_BYTES = 4 << 20
"""Of a body."""

MOST_STROKES = 4_000
"""Of a drawing, where each is a list of x and one of y."""

MOST_NUMBERS = 40_000
"""Of a drawing, times and whatever else is there included: Quick, Draw!'s have a hundred. So many take a second."""

MOST_PIXELS = 24_000_000
"""Of an image: a photograph's."""

MOST_SCANS = 100
"""Of a JPEG: each may be a few bytes, and passes over the whole image."""

STROKES = "application/json"
IMAGES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
}
"""Media types and Pillow's names of the formats that they are; the content decides which of them it is."""

Pixels = dict[Reading, npt.NDArray[np.uint8]]


class Refused(Exception):
    """A request that gets another answer than it wanted: an HTTP status and one line."""

    def __init__(self, status: int, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.hint = status, reason, hint


def reader_of(media_type: str) -> Callable[[bytes, Sequence[Reading]], Pixels]:
    """What reads bodies of that type.

    Raises:
        Refused: Nothing does.
    """
    if media_type == STROKES:
        return read_strokes
    if media_type in IMAGES:
        return read_image
    known = ", ".join((STROKES, *IMAGES))
    raise Refused(415, f"a body of type '{media_type[:100]}' is not read", f"Content-Type is one of {known}")


def read_strokes(body: bytes, readings: Sequence[Reading]) -> Pixels:
    """Draw strokes as `predict` draws a line of an `.ndjson` file; see `schema.Drawing`.

    Args:
        body: JSON.
        readings: How the models' images are made.

    Returns:
        uint8 [size, size], paper = 255, for each.

    Raises:
        Refused: It is no drawing, or too much of one.
    """
    # Each number but the last of a list is followed by a comma, each list begins with a bracket.
    if body.count(b",") > MOST_NUMBERS or body.count(b"[") > 3 * MOST_STROKES + 1:
        raise Refused(413, "too large a drawing", f"at most {MOST_STROKES:,} strokes and {MOST_NUMBERS:,} numbers")
    try:
        width = STROKE_WIDTH * _width(body)
        return {reading: draw_strokes(body, reading.size, width) for reading in readings}
    except DecodeError as error:
        raise Refused(422, str(error), 'strokes are {"drawing": [[[x, ...], [y, ...]], ...]}') from error


def _width(body: bytes) -> float:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON") from error
    width = record.get("width", 1) if isinstance(record, dict) else 1
    if isinstance(width, bool) or not isinstance(width, int | float) or not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise Refused(422, f"width is a number from {LEAST_WIDTH} to {MOST_WIDTH}")
    return float(width)


def read_image(body: bytes, readings: Sequence[Reading]) -> Pixels:
    """Decode an image as `predict` decodes a file. Arguments, results and errors as those of `read_strokes`."""
    try:
        with Image.open(io.BytesIO(body), formats=[*IMAGES.values()]) as image:
            (width, height), format, compression = image.size, image.format, image.info.get("compression")
    except Image.DecompressionBombError as error:
        raise Refused(413, "too large an image", f"at most {MOST_PIXELS:,} pixels") from error
    except Exception as error:  # for a damaged file Pillow raises whatever comes up in it
        raise Refused(422, f"that is no image of a format that is read: {', '.join(IMAGES.values())}") from error
    if width * height > MOST_PIXELS:
        raise Refused(413, f"too large an image: {width:,} x {height:,} pixels", f"at most {MOST_PIXELS:,} of them")
    # Run lengths are unpacked in Python, and each scan passes over the whole image: kilobytes that would take seconds.
    runs = format == "BMP" and compression in (1, 2)
    if runs or (format in ("JPEG", "MPO") and body.count(b"\xff\xda") > MOST_SCANS):
        raise Refused(422, "an image that is packed in an unusual way", "save it as PNG")
    try:
        return {reading: decode_content(body, reading)[0] for reading in readings}
    except DecodeError as error:
        raise Refused(422, str(error)) from error
