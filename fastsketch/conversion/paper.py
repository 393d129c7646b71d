"""Sketches as people have them: white on black, on a chalkboard, photographed in uneven light.

What surrounds a drawing is its paper, so the gray values along the border tell how an image is meant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastsketch.conversion.reading import Reading
from fastsketch.ink import INK_THRESHOLD, PAPER
from fastsketch.optional import import_optional

DARK = PAPER / 2
"""Paper whose median is darker than this is meant to be dark."""

BORDER_SAMPLES = 256
"""Pixels of each edge that are looked at, of two lines."""

WORKING_SIDE = 512
"""Pixels of the longer side at which a photograph's paper is estimated: light changes slowly."""

LINE_SHARE = 1 / 12
"""What is darker than all around it and narrower than this share of the longer side is a line, not a shadow."""

LEAST_CONTRAST = 24
"""Gray values between paper and ink, on average; with less there is nothing but noise on a sheet."""

NOISE = 3.0
"""Standard deviations of the paper that are made white."""


class Look(NamedTuple):
    """What an image seems to be, as it is about to be stored.

    Attributes:
        inverted: Light on dark.
        gray: On paper that is not white, as in a photograph.
    """

    inverted: bool = False
    gray: bool = False


def look_at(pixels: npt.NDArray[np.uint8]) -> Look:
    """What gray values uint8 [H, W] seem to be, by a border of which up to a quarter may be ink."""
    border = _border(pixels)
    quarter, median = np.partition(border, (len(border) // 4, len(border) // 2))[[len(border) // 4, len(border) // 2]]
    inverted = bool(median < DARK)
    return Look(inverted, not inverted and bool(quarter < INK_THRESHOLD))


def as_ink_on_paper(pixels: npt.NDArray[np.uint8], reading: Reading) -> npt.NDArray[np.uint8]:
    """Turn over what is light on dark, and clean what is photographed, as far as the reading asks for it."""
    if reading.invert == "yes" or (reading.invert == "auto" and look_at(pixels).inverted):
        pixels = ~pixels  # in uint8, that is 255 - pixels
    return clean_photo(pixels) if reading.clean_photo else pixels


def clean_photo(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A photographed drawing, dark on light, uint8 [H, W] → black lines on white paper, of the same shape.

    The paper's brightness is estimated where no lines are (a morphological closing wider than any line) and divided
    out; what then is as dark as the lines are on average becomes black, what the noise of the paper reaches white.

    Raises:
        BackendMissing: OpenCV is not installed.
    """
    cv2 = require_opencv()
    height, width = pixels.shape
    scale = min(1.0, WORKING_SIDE / max(pixels.shape))
    small = cv2.resize(
        pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    side = max(3, round(max(small.shape) * LINE_SHARE)) | 1
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    light = cv2.resize(cv2.GaussianBlur(closed, (side, side), 0), (width, height), interpolation=cv2.INTER_LINEAR)
    flat = cv2.divide(pixels, np.maximum(light, 1), scale=PAPER)
    threshold, _ = cv2.threshold(flat, 0, PAPER, cv2.THRESH_OTSU)
    lines, paper = flat[flat <= threshold], flat[flat > threshold]
    if not lines.size or not paper.size or paper.mean() - lines.mean() < LEAST_CONTRAST:
        return np.full_like(pixels, PAPER)
    black = float(lines.mean())
    white = max(float(paper.mean() - NOISE * paper.std()), black + 1)
    stretched = (flat.astype(np.float32) - black) * (PAPER / (white - black))
    cleaned: npt.NDArray[np.uint8] = np.rint(np.clip(stretched, 0, PAPER)).astype(np.uint8)
    return cleaned


def require_opencv() -> Any:
    """OpenCV, which works in one thread: others decode beside it.

    Raises:
        BackendMissing: It is not installed.
    """
    cv2 = import_optional("cv2", "OpenCV", "photo")
    cv2.setNumThreads(1)
    return cv2


def _border(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Some pixels along the edges, from the outermost line and one a fiftieth of the side further in."""
    lines = []
    for rows in (pixels, pixels.T):
        inner = rows.shape[0] // 50
        step = max(1, rows.shape[1] // BORDER_SAMPLES)
        lines += [rows[place, ::step] for place in (0, inner, -1, -1 - inner)]
    return np.concatenate(lines)
