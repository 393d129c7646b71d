"""The sketches that a model took for something else, and was sure of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from fastsketch.figures.sheet import Cell, draw_sheet, in_rows

MOST = 40
"""So many are drawn."""

COLORS = ("0.15", "#c8460c")
"""Of what is true and of what was said."""


class WrongSketch(NamedTuple):
    """One of them: uint8 [S, S], the names of both classes, and the probability of the predicted one in [0, 1]."""

    image: npt.NDArray[Any]
    true: str
    predicted: str
    probability: float


def draw_mistakes(path: Path, sketches: Sequence[WrongSketch], title: str) -> None:
    """Draw the first `MOST` sketches, each over its class and what it was taken for; without any, the title alone."""
    cells = [
        Cell(image, (true, f"{probability:.0%} {predicted}")) for image, true, predicted, probability in sketches[:MOST]
    ]
    draw_sheet(path, in_rows(cells), title, line_colors=COLORS)
