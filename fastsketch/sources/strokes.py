"""Vector strokes: fitted to a canvas and rasterised."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastsketch.ink import PAPER
from fastsketch.sources.canvas import BLOCK, Canvas

Stroke: TypeAlias = npt.NDArray[np.float32]
"""One movement of the pen: float32 [points, 2], (x right, y down) in canvas sides; the canvas is [0, 1]²."""

Points: TypeAlias = npt.NDArray[np.float32]
"""Those of all strokes of a drawing, one after the other: float32 [points, 2]."""

Ends: TypeAlias = Sequence[int]
"""Where strokes begin and end among the points: 0, the end of the first, of the second, and so on."""

_MIN_WIDTH_PX = 1.0
"""Thinnest line in pixels of the result: a thinner one gets no finer, only paler, until it is gone."""

_FARTHEST = 16.0
"""No honest point is this many sides off the canvas; one that is must be in another unit, or not a number."""


def rasterise(strokes: Sequence[Stroke], size: int, width: float) -> npt.NDArray[np.uint8]:
    """Draw strokes with a round pen, anti-aliased, black on white.

    Args:
        strokes: each [points, 2] in canvas sides. One point makes a dot, none makes nothing, and what
            leaves the canvas is cut off at its edge.
        size: side of the image in pixels, at least 1.
        width: diameter of the pen in canvas sides, above 0. Lines stay at least one pixel wide.

    Returns:
        uint8 [size, size], paper = 255, ink = 0.

    Raises:
        ValueError: `size` or `width` out of range, or points that cannot be in canvas sides.
    """
    for stroke in strokes:
        if stroke.ndim != 2 or stroke.shape[1] != 2:
            raise ValueError(f"a stroke has shape [points, 2], got {list(stroke.shape)}")
    return draw(*joined(strokes), size, width)


def fit_to_canvas(strokes: Sequence[Stroke], margin: float) -> list[Stroke]:
    """Move and scale a drawing so that it is centred and as large as the margin allows.

    The bounding box of all points lands in the middle of the canvas with its longest side 1 - 2·margin
    long; the aspect ratio stays. A straight line fills that length, a drawing that is all one point
    becomes the centre of the canvas, and strokes without points stay without.

    Args:
        strokes: each [points, 2] in any unit, x right and y down.
        margin: free border on either end of the longest side, in canvas sides, within [0, 0.5).

    Returns:
        As many strokes in the same order, new arrays, each float32 [points, 2] in canvas sides.

    Raises:
        ValueError: `margin` out of range.
    """
    points, ends = joined(strokes)
    return split(fitted(points, margin), ends)


def joined(strokes: Sequence[Stroke]) -> tuple[Points, Ends]:
    """Strokes as one array: what follows is a NumPy call for all of them, which costs as much as one for each."""
    inked = [stroke for stroke in strokes if len(stroke)]
    points = np.concatenate(inked) if inked else np.empty((0, 2), np.float32)
    return points, [0, *accumulate(map(len, strokes))]


def split(points: Points, ends: Ends) -> list[Stroke]:
    """The strokes again, as views."""
    return [points[first:last] for first, last in pairwise(ends)]


def fitted(points: Points, margin: float) -> Points:
    """`fit_to_canvas` for the points of all strokes."""
    if not 0 <= margin < 0.5:
        raise ValueError(f"margin must lie within [0, 0.5) canvas sides, got {margin}")
    if not len(points):
        return points.astype(np.float32)
    # float64 inside: a small drawing far from the origin would lose its digits to the subtraction.
    exact = points.astype(np.float64)
    low, high = exact.min(axis=0), exact.max(axis=0)
    extent = max((high - low).tolist())
    scale = (1 - 2 * margin) / extent if extent > 0 else 0.0
    moved: Points = ((exact - (low + high) / 2) * scale + 0.5).astype(np.float32)
    return moved


def draw(points: Points, ends: Ends, size: int, width: float) -> npt.NDArray[np.uint8]:
    """`rasterise` for the points of all strokes."""
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if not 0 < width < _FARTHEST:
        raise ValueError(f"width is in canvas sides and must be above 0, got {width}")
    image = np.full((size, size), PAPER, np.uint8)
    if not len(points):
        return image
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if not (-_FARTHEST < left <= right < _FARTHEST and -_FARTHEST < top <= bottom < _FARTHEST):  # nor if one is NaN
        raise ValueError("stroke points must be finite and in canvas sides, the canvas being [0, 1]²")

    samples = _samples_per_pixel(size)
    side = size * samples
    # Pillow's pen moves from sample to sample. Only a pen that is an odd number of samples wide has a
    # sample in its middle; an even one would shift the whole drawing by half a sample.
    radius = round((max(width * size, _MIN_WIDTH_PX) * samples - 1) / 2)
    reach = radius + 1  # as a 32-bit float, a point may come to lie in the next sample

    # Only pixels that can have ink are looked at, in whole blocks.
    rows = _pixels(top * side - reach, bottom * side + reach, samples, size)
    columns = _pixels(left * side - reach, right * side + reach, samples, size)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return image
    columns = slice(columns.start // BLOCK * BLOCK, -(-columns.stop // BLOCK) * BLOCK)
    inside = reach <= side * min(left, top) and side * max(right, bottom) < side - reach
    canvas = Canvas.blank(size, samples)
    canvas.draw(np.floor(points * side).astype(np.float32, order="C"), ends, radius, inside=inside)
    image[rows, columns] = canvas.pixels(rows, columns)[:, : size - columns.start]
    return image


def _samples_per_pixel(size: int) -> int:
    """Samples a pixel gets along each axis: many where lines are thin, few where pixels are many.

    Lines grow with the image, so what matters is the side of the sampled canvas: about 1200 samples
    give a usual pen about five samples to be round in. With fewer than three, steps show at any size, and
    more than eight improve nothing.
    """
    return min(max(round(1200 / size), 3), 8)


def _pixels(low: float, high: float, samples: int, size: int) -> slice:
    """The pixels that have the samples from `low` to `high`."""
    return slice(max(0, int(low // samples)), min(size, int(high // samples) + 1))
