"""What grows: one function a class, as `figure` says what a figure is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastsketch.demo.classes.figure import Figure, Rng, maybe
from fastsketch.demo.curves import Point, arc, blob, curve, garland, line, mirror, place, polar
from fastsketch.sources.strokes import Stroke


def _apple(rng: Rng) -> list[Stroke]:
    u, wide, tip, end = rng.uniform, rng.uniform(0.85, 1.05), rng.uniform(-0.25, 0.3), rng.uniform(0.55, 0.75)
    right = [(0.4 * wide, -0.78), (0.95 * wide, -0.4), (0.85 * wide, 0.35), (0.4 * wide, 0.9)]
    left = [(-x, y + u(-0.04, 0.04)) for x, y in reversed(right)]
    if rng.random() < 0.2:  # a bite
        right[1:3] = [(0.82, -0.5), (0.57, -0.3), (0.5, -0.05), (0.63, 0.2), (0.77, 0.4)]
    apple = [blob((0, -0.6), *right, (0, 0.8), *left), curve((0, -0.55), (0.03, -0.85), (tip, u(-1.3, -1.1)))]
    leaf = curve((0.05, -0.85), (0.25, -1.25), (end, -1.15)), curve((end, -1.15), (0.45, -0.8), (0.05, -0.85))
    shine = arc(0, 0.05, 0.65 * wide, 0.6, u(180, 195), u(215, 240))
    return [*apple, *maybe(rng, 0.75, *leaf), *maybe(rng, 0.4, shine)]


def _flower(rng: Rng) -> list[Stroke]:
    u, petals, heart, reach = rng.uniform, rng.integers(5, 10), rng.uniform(0.15, 0.24), rng.uniform(0.5, 0.6)
    wide, bend, foot = min(0.3, 1.15 * reach / petals), u(-0.3, 0.3), u(1.5, 1.9)
    flower = [arc(0, 0, heart), curve(polar(reach, 90), (bend, 0.5 * foot + 0.2), (0.3 * bend, foot))]
    petal = curve((heart, 0.05), (0.7 * reach, wide), (reach, 0), (0.7 * reach, -wide), (heart, -0.05))
    for turn in u(0, 360) + np.arange(petals) * 360 / petals:
        flower += place([petal], turn=turn)
    for side in (1, -1)[: int(rng.integers(1, 3))]:
        y, tip = u(1.0, 1.3), (bend + side * u(0.45, 0.65), u(0.75, 1.0))
        over, under = (bend + 0.2 * side, y - 0.35), (bend + 0.4 * side, y)
        flower += [curve((bend, y), over, tip), curve(tip, under, (bend, y))]
    return flower


def _mushroom(rng: Rng) -> list[Stroke]:
    u, tall, brim, stem = rng.uniform, rng.uniform(0.65, 1.0), rng.uniform(0.08, 0.2), rng.uniform(0.18, 0.32)
    foot, base = stem * u(1.0, 1.5), u(0.65, 0.95)
    mushroom = [curve((-1, 0), (-0.75, -0.75 * tall), (0, -tall), (0.75, -0.75 * tall), (1, 0))]
    mushroom += [arc(0, 0, 1, brim, 180, rng.choice([0, 0, 540])), arc(0, base, foot, 0.09, 180, 0)]
    mushroom += mirror(curve((stem, 0.9 * brim), (0.9 * stem, 0.4), (foot, base)))
    places = [(-0.5, -0.3), (0, -0.6), (0.5, -0.35), (0.05, -0.2), (-0.3, -0.62)]
    for x, y in places[: int(rng.choice([0, 0, 3, 4, 5]))]:
        mushroom.append(arc(x, y * tall, u(0.09, 0.16), u(0.08, 0.13)))
    return [*mushroom, *maybe(rng, 0.3, *mirror(curve((stem, 0.35), (stem + 0.14, 0.48), (0, 0.5))))]


def _tree(rng: Rng) -> list[Stroke]:
    u, trunk, foot, tiers = rng.uniform, rng.uniform(0.1, 0.2), rng.uniform(0.9, 1.3), int(rng.integers(3, 5))
    tree = mirror(curve((trunk, 0.25), (0.9 * trunk, 0.6), (trunk * u(1.1, 1.9), foot)))
    tree += maybe(rng, 0.4, curve((-1, foot + 0.03), (0, foot - 0.02), (1, foot + 0.04)))
    if rng.random() < 0.3:  # a fir
        edge: list[Point] = [(0, -1.2)]
        for down in np.linspace(0, 1, tiers + 1)[1:]:
            edge += [(0.28 + 0.5 * down, 1.45 * down - 1.2), (0.12 + 0.25 * down, 1.45 * down - 1.23)]
        return [*tree, *mirror(line(*edge[:-1], (trunk, 0.25)))]
    wide, tall = u(0.65, 0.9), u(0.6, 0.75)
    tree.append(garland(arc(0, -0.3, wide, tall, 95, 445, points=int(rng.integers(7, 13))), u(0.2, 0.4)))
    fruit = [arc(u(-0.6, 0.6) * wide, u(-0.6, 0.5) * tall - 0.3, 0.07) for _ in range(rng.integers(3, 7))]
    return [*tree, *maybe(rng, 0.35, *fruit), *maybe(rng, 0.4, line((-0.2, 0.0), (0, 0.25), (0.2, 0.05)))]


PLANTS: Mapping[str, Figure] = {
    "apple": _apple,
    "flower": _flower,
    "mushroom": _mushroom,
    "tree": _tree,
}
