"""Where strokes are ink before they are pixels: several samples a pixel, drawn by Pillow and averaged as Pillow does.

All is Pillow's, bit by bit: its lines, its discs, and the rounding of its `reduce`. But one disc after another and the
mean of every pixel took two thirds of the time. So discs are stamped into Pillow's memory all at once, and samples are
added up eight at a time, and pixel by pixel only where there is ink.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fastsketch.ink import PAPER

BLOCK = 8
"""Pixels of a row that are handled together: gray, they are a 64-bit word; of samples, as many words as a pixel has."""

_BLANK = np.uint64(0xFFFFFFFFFFFFFFFF)
"""A block of paper."""

_ONES, _HIGHEST = np.uint64(0x0101010101010101), np.uint64(56)
"""A word times the one has the sum of its bytes as its highest byte, which the other shifts down."""

_STAMPED = 10
"""Samples of a radius up to which discs are stamped, sample by sample; of larger ones Pillow fills the rows faster."""

_STAMPS = 4096
"""Discs that are stamped together at most, which then takes up to 11 MB; of a drawing of more, Pillow draws them."""

_KEPT = 1 << 22
"""Samples of the largest canvas that is kept."""


class Canvas:
    """Size · samples on a side, and a pen of Pillow's.

    The last one is kept for the next drawing: to make one takes as long as to draw a stroke.

    Attributes:
        ink: uint8 [size · samples, whole blocks · samples], 1 on 0.
    """

    _kept: ClassVar[list[Canvas]] = []

    def __init__(self, size: int, samples: int) -> None:
        self.size, self.samples = size, samples
        width = -(-size // BLOCK) * BLOCK
        self.ink = np.zeros((size * samples, width * samples), np.uint8)
        self._image = Image.frombuffer("L", self.ink.shape[::-1], self.ink, "raw", "L", 0, 1)
        self._image.readonly = 0  # or the pen would draw on a copy
        self._pen = ImageDraw.Draw(self._image)
        self._pen.point((0, 0), fill=1)
        self._shared = bool(self.ink[0, 0])  # as with every Pillow so far
        self._pen.point((0, 0), fill=0)

    @classmethod
    def blank(cls, size: int, samples: int) -> Canvas:
        """The one that is kept, if it is of that kind and no other thread has it."""
        try:
            kept = cls._kept.pop()
        except IndexError:
            return cls(size, samples)
        return kept if (kept.size, kept.samples) == (size, samples) else cls(size, samples)

    def draw(self, points: npt.NDArray[np.float32], ends: Sequence[int], radius: int, *, inside: bool) -> None:
        """Draw strokes with a pen of 2 · radius + 1 samples.

        Args:
            points: [n, 2], (x, y), whole numbers of samples, a row after the other in memory.
            ends: where strokes begin and end among them.
            radius: in samples.
            inside: whether no disc about a point leaves the canvas.
        """
        coordinates = points.reshape(-1).data  # which Pillow takes as they are, without a Python number for each
        for first, last in pairwise(ends):
            self._pen.line(coordinates[2 * first : 2 * last], fill=1, width=2 * radius + 1)
        # Pillow cuts lines off square, at the ends and at each corner: a disc on every point makes both round.
        stamped = inside and radius <= _STAMPED and len(points) <= _STAMPS
        if not stamped:
            for x, y in points.tolist():
                self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        if not self._shared:
            self.ink[:] = np.asarray(self._image)
        if stamped:
            columns, rows = points.astype(np.intp).T
            width = self.ink.shape[1]
            self.ink.reshape(-1)[((rows * width + columns)[:, None] + _disc(radius, width)).reshape(-1)] = 1

    def pixels(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """The gray values of some rows and some whole blocks of pixels, which had all the ink; to be asked for once."""
        samples = self.samples
        ink = self.ink[rows.start * samples : rows.stop * samples, columns.start * samples : columns.stop * samples]
        pixels = _means(ink, samples)
        if self._shared and self.ink.size <= _KEPT:
            ink[:] = 0
            self._kept[:] = [self]
        return pixels


@cache
def _disc(radius: int, width: int) -> npt.NDArray[np.intp]:
    """How far the samples of Pillow's disc lie from its middle, on a canvas of so many samples a row."""
    image = Image.new("L", (2 * radius + 1, 2 * radius + 1))
    ImageDraw.Draw(image).ellipse((0, 0, 2 * radius, 2 * radius), fill=1)
    rows, columns = np.nonzero(np.asarray(image))
    return (rows - radius) * width + columns - radius


def _means(ink: npt.NDArray[np.uint8], samples: int) -> npt.NDArray[np.uint8]:
    """What Pillow's `reduce` makes of samples in whole blocks, ink = 1 on 0: uint8 [rows, columns], paper = 255."""
    words = ink.view(np.uint64).reshape(len(ink) // samples, samples, -1)
    sums = np.einsum("rsw->rw", words)  # of each byte, where up to 8 have room; four fifths of the time of `sum`
    grays = _grays(samples)
    if samples == 8:
        counts = (sums * _ONES >> _HIGHEST).astype(np.uint8)
        return np.frombuffer(counts.tobytes().translate(grays), np.uint8).reshape(counts.shape)
    blocks = sums.reshape(-1, samples)
    inked = np.flatnonzero(_groups(np.logical_or, sums.reshape(-1) != 0, samples))
    counts = _groups(np.add, blocks.take(inked, axis=0).reshape(-1).view(np.uint8), samples)
    pixels = np.full(len(blocks), _BLANK, np.uint64)
    pixels[inked] = np.frombuffer(counts.tobytes().translate(grays), np.uint64)
    return pixels.view(np.uint8).reshape(len(sums), -1)


def _groups(operation: np.ufunc, values: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """The operation on each so many values in a row.

    It is done from every value on, and most of that is thrown away: as vectors, it takes half the time nevertheless.
    """
    starts = len(values) - length + 1
    return reduce(operation, (values[first : first + starts] for first in range(length)))[::length]


@cache
def _grays(samples: int) -> bytes:
    """The gray value of a pixel by its samples with ink, as Pillow rounds it; 256 of them, for `bytes.translate`."""
    cells = np.where(np.arange(samples**2) < np.arange(256)[:, None], 0, PAPER).astype(np.uint8)
    return np.asarray(Image.fromarray(cells.reshape(-1, samples)).reduce(samples)).tobytes()
