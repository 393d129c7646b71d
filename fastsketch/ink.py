"""What paper and ink are, once.

Gray values have paper at the top: 255 in uint8, 1 in float. *Ink* is their opposite, float32 in [0, 1], 1 for black and
0 for paper: there zero padding is paper, and a thicker line is a plain dilation.

Needs no torch, which takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

PAPER = 255
"""The gray value of blank paper; that of black ink is 0."""

INK_THRESHOLD = 248
"""A gray value below this is ink; above are what rounding, a faint MixUp partner, or the tails of a bilinear warp or of
a sharp resampling filter leave on paper."""

LEAST_INK = (PAPER - INK_THRESHOLD + 0.5) / PAPER
"""The same for ink in [0, 1]: more than this is ink. Between the gray values 247 and 248, lest rounding decide."""

PATCH = 16
"""Side in pixels of the patches whose ink is counted: that of ViT-S/16 and ViT-B/16."""


def to_ink(images: Tensor) -> Tensor:
    """Gray uint8, paper = 255 → ink, float32 in [0, 1]; of any shape."""
    return (~images).float().div_(PAPER)  # in uint8, ~p is 255 - p


def count_ink_patches(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Count the patches with any ink of images uint8 [N, S, S] → uint16 [N]; patches at the edge may be partial."""
    count, size, _ = images.shape
    if pad := -size % PATCH:
        images = np.pad(images, ((0, 0), (0, pad), (0, pad)), constant_values=PAPER)
    side = images.shape[1] // PATCH
    # Rows first: that is the minimum of whole rows, and leaves a sixteenth for the slower one within rows.
    darkest = images.reshape(count, side, PATCH, side * PATCH).min(axis=2).reshape(count, side, side, PATCH).min(axis=3)
    patches = (darkest < INK_THRESHOLD).sum(axis=(1, 2))
    # A full image of 4096 px has 65,536 patches with ink, one more than the type holds.
    counts: npt.NDArray[np.uint16] = np.minimum(patches, np.iinfo(np.uint16).max).astype(np.uint16)
    return counts
