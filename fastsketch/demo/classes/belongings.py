"""What one has about: one function a class, as `figure` says what a figure is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastsketch.demo.classes.figure import Figure, Rng, maybe
from fastsketch.demo.curves import arc, blob, box, curve, garland, line, loop, mirror, place
from fastsketch.sources.strokes import Stroke


def _cup(rng: Rng) -> list[Stroke]:
    u, top, tall, rim = rng.uniform, rng.uniform(0.6, 0.8), rng.uniform(0.65, 0.95), rng.uniform(0.1, 0.2)
    foot, bend = min(u(0.42, 0.75), top), u(0.0, 0.12)
    at = (top + foot) / 2 + bend - 0.04
    cup = [arc(0, -tall, top, rim), arc(0, tall, foot, 0.7 * rim, 180, 0)]
    cup += mirror(curve((top, -tall), ((top + foot) / 2 + bend, 0), (foot, tall)))
    for grip in (1.0, 0.65)[: int(rng.integers(1, 3))]:
        high, low, out = -0.55 * tall * grip, 0.5 * tall * grip, at + 0.5 * grip
        cup.append(curve((at, high), (out, high + 0.05), (out - 0.05, 0.5 * low), (at, low)))
    for x in np.linspace(-0.35, 0.35, int(rng.choice([0, 0, 2, 3]))):
        cup.append(curve(*((x + 0.07 * (-1) ** k, -tall - rim - 0.1 - 0.15 * k) for k in range(4))))
    return [*cup, *maybe(rng, 0.35, arc(0, tall, 1.1, 0.22, -38, 218))]


def _envelope(rng: Rng) -> list[Stroke]:
    u, tall, fold, tip = rng.uniform, rng.uniform(0.55, 0.75), rng.uniform(0, 0.25), rng.uniform(-0.06, 0.06)
    envelope = [box(-1, -tall, 1, tall), line((-1, -tall), (tip, fold), (1, -tall))]
    envelope += maybe(rng, 0.2, line((-1, -tall), (tip, -tall - u(0.55, 0.75)), (1, -tall)))  # opened
    envelope += maybe(rng, 0.5, *mirror(line((1, tall), (u(0.2, 0.35), fold - 0.2))))
    return [*envelope, *maybe(rng, 0.2, arc(0, fold, 0.13))]


def _guitar(rng: Rng) -> list[Stroke]:
    u, hip, neck, head = rng.uniform, rng.uniform(0.5, 0.6), rng.uniform(-1.5, -1.3), rng.uniform(0.1, 0.14)
    right = [(0.08, -0.5), (0.34, -0.48), (u(0.4, 0.46), -0.2), (u(0.28, 0.36), 0.1), (hip, 0.5), (0.34, 0.9)]
    guitar = [blob(*right, *((-x, y) for x, y in reversed(right))), arc(0, 0.08, u(0.13, 0.17))]
    guitar.append(loop((-0.06, neck), (-head, neck - 0.35), (head, neck - 0.35), (0.06, neck)))
    guitar += [line((x, 0.5), (x, neck)) for x in np.linspace(-0.03, 0.03, int(rng.integers(1, 4)))]
    guitar += [line((-0.15, 0.5), (0.15, 0.5)), *mirror(line((0.07, -0.5), (0.06, neck)))]
    guitar += mirror(*(line((head, neck - y), (head + 0.09, neck - y)) for y in (0.08, 0.18, 0.28)))
    return place(guitar, turn=u(-60, 60))


def _ice_cream_cone(rng: Rng) -> list[Stroke]:
    u, wide, tip, scoops = rng.uniform, rng.uniform(0.4, 0.5), rng.uniform(1.1, 1.4), int(rng.integers(1, 4))
    cone = [line((-wide, 0), (u(-0.05, 0.05), tip), (wide, 0)), line((-wide, 0), (wide, 0))]
    for k in np.linspace(0.25, 0.75, rng.integers(2, 4)):
        cone += mirror(line((wide * (1 - 2 * k), 0), (wide * (1 - k), k * tip)))
    sizes = [(1.1 - 0.13 * k) * wide for k in range(scoops)]
    for k, size in enumerate(sizes):
        cone.append(arc(0, -0.1 - 0.95 * wide * k, size, size, 155 + 10 * (k > 0), 385 - 10 * (k > 0)))
    top = -0.2 - 0.95 * wide * (scoops - 1) - sizes[-1]
    cherry = arc(0, top, 0.1), curve((0, top - 0.1), (0.05, top - 0.2), (0.16, top - 0.26))
    knots = line(*((x, 0) for x in np.linspace(wide, -wide, rng.integers(4, 7))))
    return [*cone, *maybe(rng, 0.5, garland(knots, u(0.4, 0.8))), *maybe(rng, 0.4, *cherry)]


def _t_shirt(rng: Rng) -> list[Stroke]:
    u, wide, neck, hem = rng.uniform, rng.uniform(0.5, 0.62), rng.uniform(0.2, 0.3), rng.uniform(0.8, 1.1)
    (cx, cy), (ux, uy) = (u(0.95, 1.15), u(-0.35, -0.1)), (u(0.8, 0.92), u(0.0, 0.15))
    half = [line((neck, -0.85), (0.6, -0.75), (cx, cy), (ux, uy), (wide, -0.22), (wide * u(0.95, 1.1), hem))]
    half += maybe(rng, 0.3, line((cx - 0.08, cy - 0.06), (ux - 0.08, uy - 0.06)))
    shirt = [*mirror(*half), curve((-wide, hem), (0, hem + u(-0.02, 0.06)), (wide, hem))]
    if rng.random() < 0.3:
        shirt.append(line((-neck, -0.85), (0, u(-0.5, -0.4)), (neck, -0.85)))
    else:
        collar = arc(0, -0.85, neck + 0.06, 0.38, 170, 10)
        shirt += [arc(0, -0.85, neck, u(0.15, 0.3), 180, 0), *maybe(rng, 0.5, collar)]
    stripes = [line((-wide, y), (wide, y)) for y in np.linspace(0.1, 0.7 * hem, rng.integers(2, 5))]
    return [*shirt, *(maybe(rng, 0.4, *stripes) or maybe(rng, 0.4, box(0.12, -0.25, 0.38, 0.05)))]


def _umbrella(rng: Rng) -> list[Stroke]:
    u, tall, ribs, deep = rng.uniform, rng.uniform(0.65, 0.95), int(rng.integers(3, 7)), rng.uniform(0.2, 0.4)
    foot, hook, tips = u(0.8, 1.05), u(0.12, 0.2), np.linspace(-1, 1, ribs + 1)
    umbrella = [arc(0, 0, 1, tall, 180, 360), garland(line(*((x, 0) for x in tips)), deep)]
    umbrella += [curve((0, -tall), (0.65 * x, -0.6 * tall), (x, 0)) for x in tips[1:-1] if abs(x) > 0.1]
    umbrella += [line((0, -tall), (0, -tall - u(0.1, 0.2))), arc(hook, foot, hook, hook, 180, 0)]
    umbrella.append(line((0, -2 * deep / ribs if ribs % 2 else 0), (0, foot)))
    return place(umbrella, turn=u(-30, 30))


BELONGINGS: Mapping[str, Figure] = {
    "cup": _cup,
    "envelope": _envelope,
    "guitar": _guitar,
    "ice cream cone": _ice_cream_cone,
    "t-shirt": _t_shirt,
    "umbrella": _umbrella,
}
