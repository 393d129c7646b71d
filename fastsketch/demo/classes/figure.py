"""What a figure is: a recipe for drawing a thing in many ways, and the words that several of them use.

A figure says *what* is drawn: which parts, how many, how large. It is exact, and in no particular unit:
x right, y down, the thing roughly within ±1 of the origin. Where it lands on the canvas and how unsteadily a
hand follows it is `dataset`'s business. All chances come from the generator given; `u` is its `uniform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from fastsketch.demo.curves import arc, mirror
from fastsketch.sources.strokes import Stroke

Rng: TypeAlias = np.random.Generator
Figure: TypeAlias = Callable[[Rng], list[Stroke]]


def maybe(rng: Rng, probability: float, *strokes: Stroke) -> Sequence[Stroke]:
    """All of the strokes or none."""
    return strokes if rng.random() < probability else ()


def smile(size: float) -> list[Stroke]:
    """Two eyes and a mouth around the origin, in a face of radius `size` or more."""
    return [*mirror(arc(0.5 * size, -0.35 * size, 0.14 * size)), arc(0, 0, 0.8 * size, 0.65 * size, 15, 165)]
