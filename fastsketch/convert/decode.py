"""One sample → one square gray image: decode, flatten alpha, gray, letterbox, resize.

Runs in the conversion's worker processes and needs neither torch nor the network.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fastsketch.convert.png import read_gray_png
from fastsketch.convert.resample import PAPER as PAPER
from fastsketch.convert.resample import RESAMPLING as RESAMPLING
from fastsketch.convert.resample import resized
from fastsketch.sources.quickdraw import parse_drawing
from fastsketch.sources.sample import Sample, StrokeSample
from fastsketch.sources.strokes import fit_to_canvas, rasterise

STROKE_WIDTH = 1 / 96
"""Line width of rasterised strokes as a share of the side: 2.3 px at 224, about TU-Berlin's."""

STROKE_MARGIN = 1 / 32
"""Blank margin around rasterised strokes as a share of the side."""

# A 16-bit gray PNG opens as one of these; Pillow's own conversion to "L" would clip at 255 rather than scale.
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})


class DecodeError(Exception):
    """A sample cannot be decoded; the message is the reason, without the path."""


def decode(sample: Sample, size: int, resize: str) -> npt.NDArray[np.uint8]:
    """Decode a sample to uint8 [size, size], paper = 255.

    Args:
        sample: An image file or a drawing as strokes.
        size: Side in pixels.
        resize: A key of `RESAMPLING`; strokes are rasterised at `size` and need none.

    Raises:
        DecodeError: The file is missing, truncated, not an image, or the strokes are no drawing.
    """
    if isinstance(sample, StrokeSample):
        try:
            strokes = fit_to_canvas(parse_drawing(sample.line), STROKE_MARGIN)
        except ValueError as error:
            raise DecodeError(str(error)) from error
        return rasterise(strokes, size, STROKE_WIDTH)
    try:
        pixels = read_gray_png(sample.path)
        if pixels is None:
            with Image.open(sample.path) as image:
                pixels = np.asarray(_gray(image))
        return _square(pixels, size, resize)
    except UnidentifiedImageError as error:
        raise DecodeError("not an image, or of a format that Pillow does not know") from error
    except Exception as error:
        # For a damaged file Pillow raises, depending on the format, OSError, ValueError, SyntaxError, MemoryError and
        # DecompressionBombError, but also struct.error, TypeError, AttributeError and whatever else comes up in it.
        reason = error.strerror if isinstance(error, OSError) else None
        raise DecodeError(reason or str(error) or type(error).__name__) from error


def _gray(image: Image.Image) -> Image.Image:
    """Any mode → "L", with the EXIF rotation applied and transparency laid on white paper."""
    image = ImageOps.exif_transpose(image)
    if image.mode in _WIDE_MODES:
        return Image.fromarray(_narrow(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("L")


def _narrow(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """16-bit (or float [0, 1]) gray → 8-bit, rounding to the nearest."""
    values = pixels.astype(np.float64)
    full = 1.0 if np.issubdtype(pixels.dtype, np.floating) else 65535.0
    return np.rint(np.clip(values / full, 0, 1) * PAPER).astype(np.uint8)


def _square(pixels: npt.NDArray[np.uint8], size: int, filter: str) -> npt.NDArray[np.uint8]:
    """Shrink or enlarge to fit size × size, keep the aspect, and centre on paper: nothing is ever cut off."""
    longest = max(pixels.shape)
    height, width = (max(1, round(side * size / longest)) for side in pixels.shape)
    if (height, width) != pixels.shape:
        pixels = resized(pixels, height, width, filter)
    if width == height:
        return pixels
    square = np.full((size, size), PAPER, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
