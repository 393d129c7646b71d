"""What a model takes sketches for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from fastsketch.figures.sheet import Cell, draw_sheet, in_rows

MOST = 63
"""So many are drawn."""


class NamedSketch(NamedTuple):
    """A sketch, uint8 [S, S], what it is called, and the likeliest class with its probability in [0, 1]."""

    image: npt.NDArray[Any]
    name: str
    label: str
    probability: float


def draw_predictions(path: Path, sketches: Sequence[NamedSketch], title: str) -> None:
    """Draw the first `MOST` sketches, each over the class that it is taken for and its own name."""
    cells = [Cell(image, (f"{probability:.0%} {label}", name)) for image, name, label, probability in sketches[:MOST]]
    draw_sheet(path, in_rows(cells), title)
