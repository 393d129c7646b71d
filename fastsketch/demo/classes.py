"""What the demo data set shows: one function a class, each a recipe for drawing the thing in many ways.

A figure says *what* is drawn: which parts, how many, how large. It is exact, and in no particular unit:
x right, y down, the thing roughly within ±1 of the origin. Where it lands on the canvas and how unsteadily a
hand follows it is `drawn`'s business. All chances come from the generator given; `u` is its `uniform`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from fastsketch.demo.curves import (
    Point,
    arc,
    blob,
    box,
    curve,
    garland,
    line,
    loop,
    mirror,
    place,
    polar,
)
from fastsketch.sources.strokes import Stroke

Rng: TypeAlias = np.random.Generator
Figure: TypeAlias = Callable[[Rng], list[Stroke]]

_FIGURES: dict[str, Figure] = {}

FIGURES: Mapping[str, Figure] = MappingProxyType(_FIGURES)
"""Class name to figure."""


def _figure(name: str) -> Callable[[Figure], Figure]:
    def enter(figure: Figure) -> Figure:
        _FIGURES[name] = figure
        return figure

    return enter


def _maybe(rng: Rng, probability: float, *strokes: Stroke) -> Sequence[Stroke]:
    """All of the strokes or none."""
    return strokes if rng.random() < probability else ()


def _smile(size: float) -> list[Stroke]:
    return [*mirror(arc(0.5 * size, -0.35 * size, 0.14 * size)), arc(0, 0, 0.8 * size, 0.65 * size, 15, 165)]


@_figure("apple")
def _apple(rng: Rng) -> list[Stroke]:
    u, wide, tip, end = rng.uniform, rng.uniform(0.85, 1.05), rng.uniform(-0.25, 0.3), rng.uniform(0.55, 0.75)
    right = [(0.4 * wide, -0.78), (0.95 * wide, -0.4), (0.85 * wide, 0.35), (0.4 * wide, 0.9)]
    left = [(-x, y + u(-0.04, 0.04)) for x, y in reversed(right)]
    if rng.random() < 0.2:  # a bite
        right[1:3] = [(0.82, -0.5), (0.57, -0.3), (0.5, -0.05), (0.63, 0.2), (0.77, 0.4)]
    apple = [blob((0, -0.6), *right, (0, 0.8), *left), curve((0, -0.55), (0.03, -0.85), (tip, u(-1.3, -1.1)))]
    leaf = curve((0.05, -0.85), (0.25, -1.25), (end, -1.15)), curve((end, -1.15), (0.45, -0.8), (0.05, -0.85))
    shine = arc(0, 0.05, 0.65 * wide, 0.6, u(180, 195), u(215, 240))
    return [*apple, *_maybe(rng, 0.75, *leaf), *_maybe(rng, 0.4, shine)]


@_figure("bicycle")
def _bicycle(rng: Rng) -> list[Stroke]:
    u, wheel, spokes = rng.uniform, rng.uniform(0.5, 0.62), int(rng.choice([0, 0, 3, 4, 5]))
    rear, front, crank = (-0.85, 0.4), (0.9, 0.4), (u(-0.2, -0.05), 0.42)
    seat, head = (u(-0.42, -0.3), u(-0.4, -0.2)), (u(0.55, 0.7), u(-0.45, -0.3))
    (sx, sy), (bx, by) = (seat[0] - 0.06, seat[1] - 0.2), (head[0] - 0.08, head[1] - 0.25)
    bike = [loop(rear, crank, seat), line((sx, sy), seat, head, crank), line(front, head, (bx, by))]
    bike += [arc(*rear, wheel), arc(*front, wheel), line((sx - 0.2, sy), (sx, sy), (sx + 0.2, sy))]
    drop = curve((bx - 0.2, by + 0.05), (bx, by), (bx + 0.2, by), (bx + 0.15, by + 0.2))
    bike.append(drop if rng.random() < 0.5 else curve((bx + 0.1, by), (bx, by), (bx - 0.3, by - 0.06)))
    for x, y in (rear, front):
        for turn in np.arange(spokes) * 180 / max(spokes, 1) + u(0, 60):
            bike += place([line(polar(wheel, turn), polar(-wheel, turn))], x, y)
    pedals = line((crank[0] - 0.12, 0.25), (crank[0] + 0.12, 0.6))
    return [*bike, *_maybe(rng, 0.6, arc(*crank, 0.11), pedals)]


@_figure("butterfly")
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


@_figure("car")
def _car(rng: Rng) -> list[Stroke]:
    u, roof, nose, tail = rng.uniform, rng.uniform(-0.65, -0.5), rng.uniform(0.3, 0.5), rng.uniform(-1, -0.5)
    back, front, high, wheel = u(-0.45, -0.3) + 0.4 * (tail + 0.5), u(0.1, 0.3), roof + 0.1, u(0.2, 0.27)
    middle, left, right = (back + front) / 2 + u(-0.05, 0.1), u(-0.7, -0.58), u(0.58, 0.7)
    shape = [(-1.1, 0), (tail, -0.12), (back, roof), (front, roof), (nose, -0.12), (1.05, 0), (1.12, 0.3)]
    car = [curve(*shape) if rng.random() < 0.4 else line(*shape), line((right + wheel, 0.3), (1.12, 0.3))]
    car += [line((-1.1, 0), (-1, 0.3), (left - wheel, 0.3)), line((left + wheel, 0.3), (right - wheel, 0.3))]
    for x in (left, right):
        car += [arc(x, 0.32, wheel), *_maybe(rng, 0.6, arc(x, 0.32, 0.45 * wheel))]
    window = [(tail + 0.2, -0.12), (back + 0.06, high), (front - 0.03, high), (nose - 0.12, -0.12)]
    car += [loop(*window), line((middle, high), (middle, rng.choice([-0.1, 0.28])))]
    return [*car, *_maybe(rng, 0.6, arc(1.0, 0.1, 0.06, 0.08), line((middle + 0.08, 0), (middle + 0.22, 0)))]


@_figure("cat")
def _cat(rng: Rng) -> list[Stroke]:
    u, wide, foot = rng.uniform, rng.uniform(0.75, 0.9), rng.uniform(1.8, 2.2)
    ear = line((0.7 * wide, -0.5), (u(0.7, 0.85) * wide, u(-1.15, -0.95)), (0.22 * wide, -0.68))
    mouth = curve((0, 0.2), (0.1, 0.32), (0.26, u(0.22, 0.3)))
    pupil = line((0.32, -0.21), (0.32, -0.09))
    half = [ear, mouth, arc(0.32, -0.15, 0.1, u(0.08, 0.15)), *_maybe(rng, 0.5, pupil)]
    for slope in np.linspace(-0.12, 0.16, rng.integers(2, 4)):
        half.append(line((0.4, 0.15 + slope / 2), (u(0.95, 1.15), 0.12 + 1.6 * slope)))
    cat = [arc(0, 0, wide, 0.72), loop((-0.08, 0.08), (0.08, 0.08), (0, 0.18)), *mirror(*half)]
    legs = mirror(curve((0.4, 0.62), (0.62, 0.7 * foot - 0.4), (0.5, foot)), line((0.14, 1.2), (0.12, foot)))
    tail = curve((0.55, foot - 0.2), (1.0, foot - 0.3), (1.0, 0.9), (1.2, 0.7))
    return [*cat, *_maybe(rng, 0.4, *legs, line((-0.5, foot), (0.5, foot)), tail)]


@_figure("clock")
def _clock(rng: Rng) -> list[Stroke]:
    u, hour, minute = rng.uniform, rng.uniform(0, 360), 90 * int(rng.integers(4)) + rng.normal(0, 12)
    clock = [arc(0, 0, 1), line((0, 0), polar(u(0.4, 0.5), hour)), line((0, 0), polar(u(0.65, 0.78), minute))]
    ticks = int(rng.choice([4, 12, 12]))
    clock += [line(polar(u(0.84, 0.88), turn), polar(0.97, turn)) for turn in np.arange(ticks) * 360 / ticks]
    clock += _maybe(rng, 0.45, arc(0, 0, u(1.1, 1.2)))
    bell = arc(0.62, -1.2, 0.36, 0.3, 208, 412), line((0.43, -1.33), (0.86, -0.96))
    return [*clock, *_maybe(rng, 0.35, *mirror(*bell, line((0.62, 1.0), (0.82, 1.35))))]


@_figure("cup")
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
    return [*cup, *_maybe(rng, 0.35, arc(0, tall, 1.1, 0.22, -38, 218))]


@_figure("envelope")
def _envelope(rng: Rng) -> list[Stroke]:
    u, tall, fold, tip = rng.uniform, rng.uniform(0.55, 0.75), rng.uniform(0, 0.25), rng.uniform(-0.06, 0.06)
    envelope = [box(-1, -tall, 1, tall), line((-1, -tall), (tip, fold), (1, -tall))]
    envelope += _maybe(rng, 0.2, line((-1, -tall), (tip, -tall - u(0.55, 0.75)), (1, -tall)))  # opened
    envelope += _maybe(rng, 0.5, *mirror(line((1, tall), (u(0.2, 0.35), fold - 0.2))))
    return [*envelope, *_maybe(rng, 0.2, arc(0, fold, 0.13))]


@_figure("fish")
def _fish(rng: Rng) -> list[Stroke]:
    u, fat, fork = rng.uniform, rng.uniform(0.38, 0.6), rng.uniform(0.28, 0.45)
    fish = [curve((-0.95, 0), (-0.5, 0.8 * side), (0, side), (0.65, 0)) for side in (-fat, fat)]
    fish += [line((0.6, 0), (1.1, -fork), (u(0.85, 1.0), 0), (1.1, fork), (0.6, 0))]
    fish += [arc(-0.6, -0.15 * fat - 0.05, u(0.04, 0.08)), curve((-0.92, 0.1), (-0.8, 0.14), (-0.7, 0.1))]
    fish += _maybe(rng, 0.6, arc(-0.55, 0, 0.25, 0.75 * fat, -60, 60))
    fins = [curve((-0.2, 0.95 * side), (0.1, 1.4 * side), (0.25, 0.78 * side)) for side in (-fat, fat)]
    places = ((-0.1, -0.2), (-0.1, 0.2), (0.08, 0), (0.24, -0.2), (0.24, 0.18), (-0.1, -0.55), (0.4, 0))
    scales = [arc(x, y * fat, 0.09, 0.1, -80, 80) for x, y in places]
    bubbles = [arc(-1.15 - 0.06 * k, -0.2 - 0.2 * k, 0.04 + 0.015 * k) for k in range(3)]
    return [*fish, *_maybe(rng, 0.6, *fins), *_maybe(rng, 0.5, *scales), *_maybe(rng, 0.25, *bubbles)]


@_figure("flower")
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


@_figure("guitar")
def _guitar(rng: Rng) -> list[Stroke]:
    u, hip, neck, head = rng.uniform, rng.uniform(0.5, 0.6), rng.uniform(-1.5, -1.3), rng.uniform(0.1, 0.14)
    right = [(0.08, -0.5), (0.34, -0.48), (u(0.4, 0.46), -0.2), (u(0.28, 0.36), 0.1), (hip, 0.5), (0.34, 0.9)]
    guitar = [blob(*right, *((-x, y) for x, y in reversed(right))), arc(0, 0.08, u(0.13, 0.17))]
    guitar.append(loop((-0.06, neck), (-head, neck - 0.35), (head, neck - 0.35), (0.06, neck)))
    guitar += [line((x, 0.5), (x, neck)) for x in np.linspace(-0.03, 0.03, int(rng.integers(1, 4)))]
    guitar += [line((-0.15, 0.5), (0.15, 0.5)), *mirror(line((0.07, -0.5), (0.06, neck)))]
    guitar += mirror(*(line((head, neck - y), (head + 0.09, neck - y)) for y in (0.08, 0.18, 0.28)))
    return place(guitar, turn=u(-60, 60))


@_figure("hourglass")
def _hourglass(rng: Rng) -> list[Stroke]:
    u, wide, waist, level = rng.uniform, rng.uniform(0.5, 0.65), rng.uniform(0.03, 0.1), rng.uniform(0.3, 0.6)
    cone = line((wide, -0.9), (waist, 0), (wide, 0.9))
    bulbs = curve((wide, -0.9), (0.9 * wide, -0.45), (waist, 0), (0.9 * wide, 0.45), (wide, 0.9))
    glass, at = (mirror(cone), 1.1 * level) if rng.random() < 0.3 else (mirror(bulbs), min(0.85, 1.6 * level))
    plate = box(-wide - 0.1, -0.06, wide + 0.1, 0.06) if rng.random() < 0.5 else arc(0, 0, wide + 0.06, 0.13)
    glass += [*place([plate], y=-0.95), *place([plate], y=0.95)]
    glass += [line((-at * wide, -level), (at * wide, -level)), line((0, -0.1), (0, 0.5))]
    glass.append(curve((-0.8 * wide, 0.85), (0, u(0.4, 0.6)), (0.8 * wide, 0.85)))
    return [*glass, *_maybe(rng, 0.4, *mirror(line((wide + 0.08, -0.9), (wide + 0.08, 0.9))))]


@_figure("house")
def _house(rng: Rng) -> list[Stroke]:
    u, wide, tall, peak = rng.uniform, rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.8)
    eaves, door, pane = wide + u(0, 0.25), u(-0.5, 0.2), u(0.15, 0.2)
    house = [box(-wide, 0, wide, tall), line((-eaves, 0), (u(-0.1, 0.1), -peak), (eaves, 0))]
    house += [box(door, 0.45 * tall, door + 0.28, tall), arc(door + 0.22, 0.75 * tall, 0.02)]
    for x in (at for at in (-0.65 * wide, 0.65 * wide) if not door - 0.2 < at < door + 0.48):
        cross = _maybe(rng, 0.6, line((-pane, 0), (pane, 0)), line((0, -pane), (0, pane)))
        house += place([box(-pane, -pane, pane, pane), *cross], x, 0.38 * tall)
    x, top, foot = 0.5 * eaves, -peak - u(0.0, 0.15), (0.2 / eaves - 0.5) * peak
    chimney = line((x, -0.5 * peak), (x, top), (x + 0.2, top), (x + 0.2, foot))
    smoke = garland(arc(x + 0.25, top - 0.3, 0.2, 0.1, 90, 430, points=6), 0.4)
    return [*house, *_maybe(rng, 0.6, chimney, *_maybe(rng, 0.6, smoke))]


@_figure("ice cream cone")
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
    return [*cone, *_maybe(rng, 0.5, garland(knots, u(0.4, 0.8))), *_maybe(rng, 0.4, *cherry)]


@_figure("key")
def _key(rng: Rng) -> list[Stroke]:
    u, bow, thick, teeth = rng.uniform, rng.uniform(0.3, 0.42), rng.uniform(0.06, 0.1), rng.integers(2, 5)
    tip, deep = u(1.2, 1.6), thick + u(0.13, 0.25)
    bit: list[Point] = [(bow, thick)]
    for x in np.linspace(tip - 0.22 * teeth, tip - 0.14, teeth):
        bit += [(x, thick), (x, deep + u(-0.05, 0.08)), (x + 0.1, deep), (x + 0.1, thick)]
    key = [line((bow, -thick), (tip, -thick), (tip, thick)), line(*bit, (tip, thick))]
    key += [arc(0, 0, bow, bow * u(0.8, 1.2)), arc(-0.1 * bow, 0, bow * u(0.2, 0.6))]
    return place(key, turn=u(0, 360))


@_figure("ladder")
def _ladder(rng: Rng) -> list[Stroke]:
    u, rungs, foot, thick = rng.uniform, rng.integers(5, 10), rng.uniform(0.3, 0.45), rng.uniform(0.06, 0.1)
    top, steps = foot * u(0.65, 1.0), (0, 0.06)[: rng.choice([1, 1, 2])]
    beam = loop((foot, 1), (top, -1), (top + thick, -1), (foot + thick, 1))
    ladder = mirror(beam if rng.random() < 0.4 else line((foot, 1), (top, -1)))
    for y in np.linspace(-0.85, 0.85, rungs):
        half = (foot + top) / 2 + (foot - top) / 2 * y
        ladder += [line((-half, y + step), (half, y + step)) for step in steps]
    return place(ladder, turn=u(-30, 30))


@_figure("light bulb")
def _light_bulb(rng: Rng) -> list[Stroke]:
    u, neck, low, turns = rng.uniform, rng.uniform(0.2, 0.28), rng.uniform(0.75, 1.0), int(rng.integers(2, 5))
    right = [(neck, low), (neck + 0.03, low - 0.2), (0.52, 0.3), (u(0.6, 0.7), -0.1), (0.4, -0.55), (0, -0.7)]
    foot, rays = low + 0.1 * turns, np.linspace(180, 360, rng.integers(5, 9))
    bulb = [curve(*right, *((-x, y) for x, y in right[-2::-1])), line((-neck, low), (neck, low))]
    bulb += mirror(line((neck, low), (neck - 0.02, foot), (0.07, foot + 0.1), (0, foot + 0.14)))
    bulb += [line((-neck, y), (neck, y + 0.05)) for y in np.linspace(low + 0.1, foot - 0.02, turns)]
    wire = zip((-0.2, -0.1, 0, 0.1, 0.2), u(-0.15, 0.15, 5).tolist(), strict=True)
    bulb += _maybe(rng, 0.75, line((-0.1, low), *wire, (0.1, low)))
    bulb += _maybe(rng, 0.45, *(line(polar(u(0.8, 1), angle), polar(u(1.1, 1.3), angle)) for angle in rays))
    return place(bulb, turn=u(-20, 20) + 180 * (rng.random() < 0.15))


@_figure("mushroom")
def _mushroom(rng: Rng) -> list[Stroke]:
    u, tall, brim, stem = rng.uniform, rng.uniform(0.65, 1.0), rng.uniform(0.08, 0.2), rng.uniform(0.18, 0.32)
    foot, base = stem * u(1.0, 1.5), u(0.65, 0.95)
    mushroom = [curve((-1, 0), (-0.75, -0.75 * tall), (0, -tall), (0.75, -0.75 * tall), (1, 0))]
    mushroom += [arc(0, 0, 1, brim, 180, rng.choice([0, 0, 540])), arc(0, base, foot, 0.09, 180, 0)]
    mushroom += mirror(curve((stem, 0.9 * brim), (0.9 * stem, 0.4), (foot, base)))
    places = [(-0.5, -0.3), (0, -0.6), (0.5, -0.35), (0.05, -0.2), (-0.3, -0.62)]
    for x, y in places[: int(rng.choice([0, 0, 3, 4, 5]))]:
        mushroom.append(arc(x, y * tall, u(0.09, 0.16), u(0.08, 0.13)))
    return [*mushroom, *_maybe(rng, 0.3, *mirror(curve((stem, 0.35), (stem + 0.14, 0.48), (0, 0.5))))]


@_figure("sailboat")
def _sailboat(rng: Rng) -> list[Stroke]:
    u, keel, top, mast = rng.uniform, rng.uniform(0.35, 0.5), rng.uniform(-1.5, -1.1), rng.uniform(-0.1, 0.1)
    hull, boom = curve if rng.random() < 0.5 else line, u(0.6, 0.8)
    boat = [hull((-1, 0), (-0.7, keel), (0.65, keel), (u(1.0, 1.15), 0)), line((-1, 0), (1.05, 0))]
    boat += [line((mast, 0), (mast, top)), line((mast + boom, -0.15), (mast, -0.15))]
    boat += [curve((mast, top), (mast + 0.5 * boom + u(0.0, 0.2), 0.45 * top), (mast + boom, -0.15))]
    jib = line((mast - 0.05, 0.92 * top), (mast - u(0.5, 0.75), -0.12), (mast - 0.04, -0.12))
    flag, crests = loop((mast, top), (mast - 0.25, top - 0.1), (mast, top - 0.2)), np.linspace(-1.3, 1.3, 12)
    sea = curve(*((x, keel + 0.08 * (-1) ** k) for k, x in enumerate(crests)))
    return [*boat, *_maybe(rng, 0.7, jib), *_maybe(rng, 0.35, flag), *_maybe(rng, 0.6, sea)]


@_figure("scissors")
def _scissors(rng: Rng) -> list[Stroke]:
    u, blade, ring, long = rng.uniform, rng.uniform(1.0, 1.3), rng.uniform(0.2, 0.27), rng.uniform(0.75, 0.95)
    edge, shape = [(0.08, 0.1), (0.08, -0.1), (0, -blade), (-0.08, -0.1)], rng.choice([0.9, 1.25, 1.5])
    half = [curve(*edge) if rng.random() < 0.3 else line(*edge), arc(0.1, long, ring, shape * ring)]
    half += [line((0.08, 0.1), (0.14, long - 1.2 * ring)), line((-0.06, -0.05), (-0.02, long - ring))]
    half += _maybe(rng, 0.6, arc(0.1, long, 0.65 * ring, 0.85 * ring))
    return place([*mirror(*place(half, turn=-u(12, 28))), arc(0, 0, 0.05)], turn=u(0, 360))


@_figure("snowman")
def _snowman(rng: Rng) -> list[Stroke]:
    u, head, low, brim = rng.uniform, rng.uniform(0.32, 0.4), rng.uniform(0.6, 0.75), rng.uniform(0.4, 0.5)
    belly, hat = rng.choice([0.0, u(0.42, 0.5), u(0.48, 0.55)]), u(-0.95, -0.7)
    chest = head + (belly or low) - 0.05
    man = [arc(0, 0, head), arc(0, head + 2 * belly + low - (0.13 if belly else 0.03), low)]
    man += [arc(0, chest, belly)] if belly else []
    man += [*_smile(0.24), loop((-0.02, 0), (u(0.25, 0.4), 0.06), (0, 0.09))]
    man += [arc(0, chest + y, 0.035) for y in np.linspace(-0.2, 0.2, rng.integers(2, 4))]
    x, y, hand = u(0.7, 0.9), chest - u(0.0, 0.3), (u(0.95, 1.1), chest - u(0.3, 0.5))
    man += _maybe(rng, 0.8, *mirror(line((0.42, chest), (x, y), hand), line((x, y), (hand[0] + 0.1, y))))
    topper = line((-0.26, -0.8 * head), (-0.24, hat), (0.24, hat), (0.26, -0.8 * head))
    return [*man, *_maybe(rng, 0.7, topper, line((-brim, -0.8 * head), (brim, -0.8 * head)))]


@_figure("star")
def _star(rng: Rng) -> list[Stroke]:
    points, deep, turn = int(rng.choice([5, 5, 5, 6])), rng.uniform(0.36, 0.5), rng.normal(-90, 10)
    if points == 5 and rng.random() < 0.35:  # in one go, crossing itself
        return [loop(*(polar(1, turn + 144 * k) for k in range(5)))]
    star = loop(*(polar(deep if k % 2 else 1, turn + 180 * k / points) for k in range(2 * points)))
    return [star, *_maybe(rng, 0.25, 0.65 * star), *_maybe(rng, 0.2, *_smile(0.25))]


@_figure("sun")
def _sun(rng: Rng) -> list[Stroke]:
    u, rays, size = rng.uniform, int(rng.integers(8, 17)), rng.uniform(0.4, 0.55)
    sun, step, kind = [arc(0, 0, size)], 360 / rays, rng.choice([0, 1, 2, 2, 2])
    for k, angle in enumerate(u(0, 90) + np.arange(rays) * step):
        reach, near = u(0.85, 1.0) if k % 2 else u(0.95, 1.1), size + 0.07
        spike = line(polar(size, -0.4 * step), (reach, 0), polar(size, 0.4 * step))
        wave = curve(*((near + (reach - near) * t / 3, 0.06 * (-1) ** t) for t in range(4)))
        sun += place([(spike, wave, line((near, 0), (reach, 0)))[kind]], turn=angle)
    return [*sun, *_maybe(rng, 0.35, *_smile(0.3))]


@_figure("t-shirt")
def _t_shirt(rng: Rng) -> list[Stroke]:
    u, wide, neck, hem = rng.uniform, rng.uniform(0.5, 0.62), rng.uniform(0.2, 0.3), rng.uniform(0.8, 1.1)
    (cx, cy), (ux, uy) = (u(0.95, 1.15), u(-0.35, -0.1)), (u(0.8, 0.92), u(0.0, 0.15))
    half = [line((neck, -0.85), (0.6, -0.75), (cx, cy), (ux, uy), (wide, -0.22), (wide * u(0.95, 1.1), hem))]
    half += _maybe(rng, 0.3, line((cx - 0.08, cy - 0.06), (ux - 0.08, uy - 0.06)))
    shirt = [*mirror(*half), curve((-wide, hem), (0, hem + u(-0.02, 0.06)), (wide, hem))]
    if rng.random() < 0.3:
        shirt.append(line((-neck, -0.85), (0, u(-0.5, -0.4)), (neck, -0.85)))
    else:
        collar = arc(0, -0.85, neck + 0.06, 0.38, 170, 10)
        shirt += [arc(0, -0.85, neck, u(0.15, 0.3), 180, 0), *_maybe(rng, 0.5, collar)]
    stripes = [line((-wide, y), (wide, y)) for y in np.linspace(0.1, 0.7 * hem, rng.integers(2, 5))]
    return [*shirt, *(_maybe(rng, 0.4, *stripes) or _maybe(rng, 0.4, box(0.12, -0.25, 0.38, 0.05)))]


@_figure("tree")
def _tree(rng: Rng) -> list[Stroke]:
    u, trunk, foot, tiers = rng.uniform, rng.uniform(0.1, 0.2), rng.uniform(0.9, 1.3), int(rng.integers(3, 5))
    tree = mirror(curve((trunk, 0.25), (0.9 * trunk, 0.6), (trunk * u(1.1, 1.9), foot)))
    tree += _maybe(rng, 0.4, curve((-1, foot + 0.03), (0, foot - 0.02), (1, foot + 0.04)))
    if rng.random() < 0.3:  # a fir
        edge: list[Point] = [(0, -1.2)]
        for down in np.linspace(0, 1, tiers + 1)[1:]:
            edge += [(0.28 + 0.5 * down, 1.45 * down - 1.2), (0.12 + 0.25 * down, 1.45 * down - 1.23)]
        return [*tree, *mirror(line(*edge[:-1], (trunk, 0.25)))]
    wide, tall = u(0.65, 0.9), u(0.6, 0.75)
    tree.append(garland(arc(0, -0.3, wide, tall, 95, 445, points=int(rng.integers(7, 13))), u(0.2, 0.4)))
    fruit = [arc(u(-0.6, 0.6) * wide, u(-0.6, 0.5) * tall - 0.3, 0.07) for _ in range(rng.integers(3, 7))]
    return [*tree, *_maybe(rng, 0.35, *fruit), *_maybe(rng, 0.4, line((-0.2, 0.0), (0, 0.25), (0.2, 0.05)))]


@_figure("umbrella")
def _umbrella(rng: Rng) -> list[Stroke]:
    u, tall, ribs, deep = rng.uniform, rng.uniform(0.65, 0.95), int(rng.integers(3, 7)), rng.uniform(0.2, 0.4)
    foot, hook, tips = u(0.8, 1.05), u(0.12, 0.2), np.linspace(-1, 1, ribs + 1)
    umbrella = [arc(0, 0, 1, tall, 180, 360), garland(line(*((x, 0) for x in tips)), deep)]
    umbrella += [curve((0, -tall), (0.65 * x, -0.6 * tall), (x, 0)) for x in tips[1:-1] if abs(x) > 0.1]
    umbrella += [line((0, -tall), (0, -tall - u(0.1, 0.2))), arc(hook, foot, hook, hook, 180, 0)]
    umbrella.append(line((0, -2 * deep / ribs if ribs % 2 else 0), (0, foot)))
    return place(umbrella, turn=u(-30, 30))
