"""Vector strokes: fitted to a canvas and rasterised."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fastsketch.ink import PAPER

Stroke: TypeAlias = npt.NDArray[np.float32]
"""One movement of the pen: float32 [points, 2], (x right, y down) in canvas sides; the canvas is [0, 1]²."""

_INK = 0

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
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if not 0 < width < _FARTHEST:
        raise ValueError(f"width is in canvas sides and must be above 0, got {width}")
    for stroke in strokes:
        if stroke.ndim != 2 or stroke.shape[1] != 2:
            raise ValueError(f"a stroke has shape [points, 2], got {list(stroke.shape)}")

    samples = _samples_per_pixel(size)
    side = size * samples
    # Pillow's pen moves from sample to sample. Only a pen that is an odd number of samples wide has a
    # sample in its middle; an even one would shift the whole drawing by half a sample.
    radius = round((max(width * size, _MIN_WIDTH_PX) * samples - 1) / 2)
    canvas = Image.new("L", (side, side), PAPER)
    pen = ImageDraw.Draw(canvas)

    inked = [stroke for stroke in strokes if len(stroke)]
    if inked:
        points = np.concatenate(inked)
        if not (np.abs(points) < _FARTHEST).all():  # False for NaN, too
            raise ValueError("stroke points must be finite and in canvas sides, the canvas being [0, 1]²")
        # All strokes go to samples in one pass, and on as plain lists: a drawing is many short strokes,
        # and a NumPy call for each would cost more than the drawing itself.
        coordinates: list[list[int]] = np.floor(points * side).astype(np.int64).tolist()
        ends = np.cumsum([0, *map(len, inked)]).tolist()
        for first, last in pairwise(ends):
            _draw(pen, coordinates[first:last], radius)
    return np.array(canvas.reduce(samples) if samples > 1 else canvas, dtype=np.uint8)


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
    if not 0 <= margin < 0.5:
        raise ValueError(f"margin must lie within [0, 0.5) canvas sides, got {margin}")
    inked = [stroke for stroke in strokes if len(stroke)]
    if not inked:
        return [stroke.astype(np.float32) for stroke in strokes]
    # float64 inside: a small drawing far from the origin would lose its digits to the subtraction.
    points = np.concatenate(inked).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = (1 - 2 * margin) / extent if extent > 0 else 0.0
    centre = (low + high) / 2
    return [((stroke - centre) * scale + 0.5).astype(np.float32) for stroke in strokes]


def _samples_per_pixel(size: int) -> int:
    """Samples a pixel gets along each axis: many where lines are thin, few where pixels are many.

    Lines grow with the image, so what matters is the side of the sampled canvas: about 1200 samples
    give a usual pen about five samples to be round in. With fewer than three, steps show at any size, and
    more than eight improve nothing.
    """
    return min(max(round(1200 / size), 3), 8)


def _draw(pen: ImageDraw.ImageDraw, points: list[list[int]], radius: int) -> None:
    """Draw one stroke through `points` ([x, y] in samples) with a pen of 2·radius + 1 samples."""
    if len(points) > 1:
        pen.line([coordinate for point in points for coordinate in point], fill=_INK, width=2 * radius + 1)
    # Pillow cuts lines off square, at the ends and at each corner: a disc on every point makes both round.
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_INK)
