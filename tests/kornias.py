"""What the installed Kornia can be an oracle of: before 0.9, which Python 3.10 does not get, two things differed."""

from __future__ import annotations

from importlib.metadata import version

from kornia.morphology import dilation
from torch import Tensor

_OLD = tuple(int(part) for part in version("kornia").split(".")[:2]) < (0, 9)

FLOAT64_TOLERANCE = 1e-5 if _OLD else 1e-10
"""How far float64 images may lie apart: its π was float32, and so was what it made coordinates between ±1 with."""


def dilated(ink: Tensor, element: Tensor) -> Tensor:
    """Kornia's dilation [B, 1, S, S] by a square, the even one's larger half on the side on which 0.9 has it."""
    if not _OLD:
        return dilation(ink, element)
    return dilation(ink.flip(2, 3), element).flip(2, 3)
