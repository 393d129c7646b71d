"""What the drawn figures are composed of: lines, curves and arcs, in whatever unit; float32 [points, 2] each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastsketch.sources.strokes import Stroke

Point: TypeAlias = tuple[float, float]
"""(x right, y down)."""


def line(*points: Point) -> Stroke:
    """Straight from point to point."""
    return np.array(points, dtype=np.float32)


def loop(*points: Point) -> Stroke:
    """Straight from point to point and back to the first."""
    return line(*points, points[0])


def box(left: float, top: float, right: float, bottom: float) -> Stroke:
    """An upright rectangle."""
    return loop((left, top), (right, top), (right, bottom), (left, bottom))


def curve(*points: Point) -> Stroke:
    """Smoothly through all points (Catmull-Rom, the ends doubled), eight steps from one to the next."""
    return _spline(line(points[0], *points, points[-1]))


def blob(*points: Point) -> Stroke:
    """Smoothly through all points and round to the first."""
    return _spline(line(points[-1], *points, *points[:2]))


def arc(
    x: float, y: float, rx: float, ry: float = 0.0, start: float = 0.0, stop: float = 360.0, points: int = 0
) -> Stroke:
    """Part of an ellipse around (x, y), by default all of it, and a circle if `ry` is 0.

    It runs from `start` to `stop` in degrees, clockwise as seen: 0 is right, 90 is down. `points` of 0 means
    one every eight degrees.
    """
    angles = np.radians(np.linspace(start, stop, points or 2 + int(abs(stop - start) / 8)))
    return np.stack([x + rx * np.cos(angles), y + (ry or rx) * np.sin(angles)], axis=1).astype(np.float32)


def garland(knots: Stroke, bulge: float) -> Stroke:
    """An arch from each point of `knots` to the next, on the left as one goes, `bulge` chords high."""
    t = np.linspace(0, np.pi, 10)[:, None]
    chords = np.diff(knots, axis=0)[:, None]
    aside = chords[..., ::-1] * np.array([1, -1])
    along, up = (1 - np.cos(t)) / 2, bulge * np.sin(t)
    arches: npt.NDArray[np.float64] = knots[:-1, None] + along * chords + up * aside
    return arches.reshape(-1, 2).astype(np.float32)


def polar(radius: float, angle: float) -> Point:
    """The point at distance `radius` from the origin and at `angle`, with angles as in `arc`."""
    return float(radius * np.cos(np.radians(angle))), float(radius * np.sin(np.radians(angle)))


def mirror(*strokes: Stroke) -> list[Stroke]:
    """Strokes, followed by their reflections in the vertical axis."""
    return [*strokes, *(stroke * np.array([-1, 1], dtype=np.float32) for stroke in strokes)]


def place(strokes: Sequence[Stroke], x: float = 0.0, y: float = 0.0, turn: float = 0.0) -> list[Stroke]:
    """Strokes turned about the origin, clockwise by `turn` degrees, then moved by (x, y)."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    rotation = np.array([[cos, sin], [-sin, cos]], dtype=np.float32)
    return [stroke @ rotation + np.array([x, y], dtype=np.float32) for stroke in strokes]


def _spline(knots: Stroke) -> Stroke:
    """Catmull-Rom from the second knot to the last but one; the outer two only give direction."""
    before, here, after, beyond = knots[:-3, None], knots[1:-2, None], knots[2:-1, None], knots[3:, None]
    t = np.linspace(0, 1, 9, dtype=np.float32)[1:, None]
    cubic = 3 * (here - after) + beyond - before
    square = 2 * before - 5 * here + 4 * after - beyond
    pieces: Stroke = here + 0.5 * t * ((after - before) + t * (square + t * cubic))
    return np.concatenate([knots[1:2], pieces.reshape(-1, 2)])
