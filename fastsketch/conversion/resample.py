"""Pillow's resampling, bit by bit, in half its time for large drawings on paper.

Pillow resamples rows and then columns, and rounds to 8 bits in between; so the two passes can be called one by one.
The first is most of the work, and most of it is blank paper, which stays paper: it is done for an eighth of the columns
at a time, and only for the rows that have ink there (a quarter of them, in TU-Berlin). Both do four columns at a time,
which Pillow takes for the four channels of a pixel; for the first, those rows are turned into columns.

The filter's weights depend on where an output pixel lies in the source. An eighth of any width is an exact float32, the
type of Pillow's `box`, so that they are the same for a part as for the whole. Newer versions of Pillow begin with the
columns where that is less work. Therefore all this is tried on noise before it is trusted with a size of image.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastsketch.ink import PAPER

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
"""Pillow's filters by name. When shrinking, all but `nearest` are anti-aliased: their support grows with the scale."""

BANDS = 8
"""Parts into which the columns are divided."""

BLOCK = 8
"""Rows that are looked through for ink together."""

TRIAL = 16
"""The trial costs as much as a few images; it is worth it for the size of so many."""

_SUPPORT = {"bilinear": 1.0, "box": 0.5, "bicubic": 2.0, "lanczos": 3.0}
"""How far each filter reaches from the centre of an output pixel, in output pixels."""

_BLANK = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Eight pixels of paper."""

_seen: Counter[tuple[int, ...]] = Counter()


def resized(pixels: npt.NDArray[np.uint8], height: int, width: int, filter: str) -> npt.NDArray[np.uint8]:
    """What `PIL.Image.resize` makes of a gray image.

    Args:
        pixels: uint8 [h, w].
        height: Of the result.
        width: Of the result.
        filter: A key of `RESAMPLING`.

    Returns:
        uint8 [height, width].
    """
    if filter != "nearest" and min(pixels.shape) >= 2 * max(height, width) and width % BANDS == 0:
        _seen[pixels.shape] += 1
        if _seen[pixels.shape] > TRIAL and equals_pillow(pixels.shape, height, width, filter):
            return in_two_passes(pixels, height, width, filter)
    return np.asarray(Image.fromarray(pixels).resize((width, height), RESAMPLING[filter]))


@cache
def equals_pillow(shape: tuple[int, int], height: int, width: int, filter: str) -> bool:
    """Whether `in_two_passes` does what this Pillow does, tried on noise of that shape."""
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((width, height), RESAMPLING[filter]))
    return np.array_equal(in_two_passes(noise, height, width, filter), expected)


def in_two_passes(pixels: npt.NDArray[np.uint8], height: int, width: int, filter: str) -> npt.NDArray[np.uint8]:
    """`resized`, rows first; for any filter but `nearest`, and a multiple of `BANDS` as the width."""
    return _shrunk(_narrowed(pixels, width, filter), height, filter, 0, len(pixels))


def _narrowed(pixels: npt.NDArray[np.uint8], width: int, filter: str) -> npt.NDArray[np.uint8]:
    """The first pass: uint8 [h, w] → uint8 [h, width]."""
    height, full_width = pixels.shape
    whole = height // BLOCK * BLOCK
    narrow = np.full((height, width), PAPER, np.uint8)
    blocks, narrow_blocks = (rows[:whole].reshape(-1, BLOCK, rows.shape[1]) for rows in (pixels, narrow))
    darkest = np.full((len(blocks), -(-full_width // 8) * 8), PAPER, np.uint8)
    blocks.min(axis=1, out=darkest[:, :full_width])
    inked = darkest.view(np.uint64) != _BLANK  # eight columns at a time
    step, out = full_width / BANDS, width // BANDS
    reach = math.ceil(_SUPPORT[filter] * full_width / width) + 1
    for band in range(BANDS):
        left, right = band * step, (band + 1) * step
        first, last = max(0, math.floor(left) - reach), min(full_width, math.ceil(right) + reach)
        drawn = np.flatnonzero(inked[:, first // 8 : -(-last // 8)].any(axis=1))
        if len(drawn):
            turned = np.ascontiguousarray(blocks[drawn, :, first:last].reshape(-1, last - first).T)
            done = _shrunk(turned, out, filter, left - first, right - first)
            narrow_blocks[drawn, :, band * out : (band + 1) * out] = done.reshape(out, -1, BLOCK).transpose(1, 2, 0)
    if (pixels[whole:] < PAPER).any():
        rest = Image.fromarray(pixels[whole:]).resize((width, height - whole), RESAMPLING[filter])
        narrow[whole:] = np.asarray(rest)
    return narrow


def _shrunk(
    pixels: npt.NDArray[np.uint8], height: int, filter: str, top: float, bottom: float
) -> npt.NDArray[np.uint8]:
    """The rows from `top` to `bottom` made so many; a multiple of four columns, which stay.

    Pillow is twice as fast with the four channels of a pixel as with gray ones, and faster with rows than with columns.
    """
    wide = pixels.shape[1] // 4
    image = Image.frombuffer("CMYK", (wide, len(pixels)), pixels, "raw", "CMYK", 0, 1)
    done = image.resize((wide, height), RESAMPLING[filter], (0, top, wide, bottom))
    return np.asarray(done).reshape(height, -1)
