"""Animals: one function a class, as `figure` says what a figure is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastsketch.demo.classes.figure import Figure, Rng, maybe
from fastsketch.demo.curves import arc, curve, line, loop, mirror, place
from fastsketch.sources.strokes import Stroke


def _butterfly(rng: Rng) -> list[Stroke]:
    u, reach, drop = rng.uniform, rng.uniform(0.85, 1.1), rng.uniform(0.6, 0.95)
    upper = curve((0.07, -0.2), (0.4, -0.8), (reach, u(-0.95, -0.7)), (0.9 * reach, -0.1), (0.07, 0.1))
    lower = curve((0.07, 0.1), (0.65, u(0.1, 0.25)), (0.6 * reach, drop), (0.25, 0.7 * drop), (0.05, 0.25))
    feeler = curve((0.03, -0.4), (0.1, -0.75), (u(0.2, 0.35), u(-1.0, -0.85)))
    spots = [arc(0.62 * reach, -0.48, u(0.1, 0.2)), arc(0.4 * reach, 0.4, u(0.07, 0.12))]
    veins = [line((0.15, -0.15), (0.75 * reach, -0.65)), line((0.12, 0.15), (0.45 * reach, 0.55))]
    marks = (spots if rng.random() < 0.7 else veins)[: int(rng.integers(0, 3))]
    body = arc(0, 0.05, u(0.06, 0.1), u(0.4, 0.5))
    return place([body, *mirror(upper, lower, feeler, *marks)], turn=u(-25, 25))


def _cat(rng: Rng) -> list[Stroke]:
    u, wide, foot = rng.uniform, rng.uniform(0.75, 0.9), rng.uniform(1.8, 2.2)
    ear = line((0.7 * wide, -0.5), (u(0.7, 0.85) * wide, u(-1.15, -0.95)), (0.22 * wide, -0.68))
    mouth = curve((0, 0.2), (0.1, 0.32), (0.26, u(0.22, 0.3)))
    pupil = line((0.32, -0.21), (0.32, -0.09))
    half = [ear, mouth, arc(0.32, -0.15, 0.1, u(0.08, 0.15)), *maybe(rng, 0.5, pupil)]
    for slope in np.linspace(-0.12, 0.16, rng.integers(2, 4)):
        half.append(line((0.4, 0.15 + slope / 2), (u(0.95, 1.15), 0.12 + 1.6 * slope)))
    cat = [arc(0, 0, wide, 0.72), loop((-0.08, 0.08), (0.08, 0.08), (0, 0.18)), *mirror(*half)]
    legs = mirror(curve((0.4, 0.62), (0.62, 0.7 * foot - 0.4), (0.5, foot)), line((0.14, 1.2), (0.12, foot)))
    tail = curve((0.55, foot - 0.2), (1.0, foot - 0.3), (1.0, 0.9), (1.2, 0.7))
    return [*cat, *maybe(rng, 0.4, *legs, line((-0.5, foot), (0.5, foot)), tail)]


def _fish(rng: Rng) -> list[Stroke]:
    u, fat, fork = rng.uniform, rng.uniform(0.38, 0.6), rng.uniform(0.28, 0.45)
    fish = [curve((-0.95, 0), (-0.5, 0.8 * side), (0, side), (0.65, 0)) for side in (-fat, fat)]
    fish += [line((0.6, 0), (1.1, -fork), (u(0.85, 1.0), 0), (1.1, fork), (0.6, 0))]
    fish += [arc(-0.6, -0.15 * fat - 0.05, u(0.04, 0.08)), curve((-0.92, 0.1), (-0.8, 0.14), (-0.7, 0.1))]
    fish += maybe(rng, 0.6, arc(-0.55, 0, 0.25, 0.75 * fat, -60, 60))
    fins = [curve((-0.2, 0.95 * side), (0.1, 1.4 * side), (0.25, 0.78 * side)) for side in (-fat, fat)]
    places = ((-0.1, -0.2), (-0.1, 0.2), (0.08, 0), (0.24, -0.2), (0.24, 0.18), (-0.1, -0.55), (0.4, 0))
    scales = [arc(x, y * fat, 0.09, 0.1, -80, 80) for x, y in places]
    bubbles = [arc(-1.15 - 0.06 * k, -0.2 - 0.2 * k, 0.04 + 0.015 * k) for k in range(3)]
    return [*fish, *maybe(rng, 0.6, *fins), *maybe(rng, 0.5, *scales), *maybe(rng, 0.25, *bubbles)]


ANIMALS: Mapping[str, Figure] = {
    "butterfly": _butterfly,
    "cat": _cat,
    "fish": _fish,
}
