"""What is seen out of doors: one function a class, as `figure` says what a figure is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastsketch.demo.classes.figure import Figure, Rng, maybe, smile
from fastsketch.demo.curves import arc, box, curve, garland, line, loop, mirror, place, polar
from fastsketch.sources.strokes import Stroke


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
    return [*bike, *maybe(rng, 0.6, arc(*crank, 0.11), pedals)]


def _car(rng: Rng) -> list[Stroke]:
    u, roof, nose, tail = rng.uniform, rng.uniform(-0.65, -0.5), rng.uniform(0.3, 0.5), rng.uniform(-1, -0.5)
    back, front, high, wheel = u(-0.45, -0.3) + 0.4 * (tail + 0.5), u(0.1, 0.3), roof + 0.1, u(0.2, 0.27)
    middle, left, right = (back + front) / 2 + u(-0.05, 0.1), u(-0.7, -0.58), u(0.58, 0.7)
    shape = [(-1.1, 0), (tail, -0.12), (back, roof), (front, roof), (nose, -0.12), (1.05, 0), (1.12, 0.3)]
    car = [curve(*shape) if rng.random() < 0.4 else line(*shape), line((right + wheel, 0.3), (1.12, 0.3))]
    car += [line((-1.1, 0), (-1, 0.3), (left - wheel, 0.3)), line((left + wheel, 0.3), (right - wheel, 0.3))]
    for x in (left, right):
        car += [arc(x, 0.32, wheel), *maybe(rng, 0.6, arc(x, 0.32, 0.45 * wheel))]
    window = [(tail + 0.2, -0.12), (back + 0.06, high), (front - 0.03, high), (nose - 0.12, -0.12)]
    car += [loop(*window), line((middle, high), (middle, rng.choice([-0.1, 0.28])))]
    return [*car, *maybe(rng, 0.6, arc(1.0, 0.1, 0.06, 0.08), line((middle + 0.08, 0), (middle + 0.22, 0)))]


def _house(rng: Rng) -> list[Stroke]:
    u, wide, tall, peak = rng.uniform, rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.8)
    eaves, door, pane = wide + u(0, 0.25), u(-0.5, 0.2), u(0.15, 0.2)
    house = [box(-wide, 0, wide, tall), line((-eaves, 0), (u(-0.1, 0.1), -peak), (eaves, 0))]
    house += [box(door, 0.45 * tall, door + 0.28, tall), arc(door + 0.22, 0.75 * tall, 0.02)]
    for x in (at for at in (-0.65 * wide, 0.65 * wide) if not door - 0.2 < at < door + 0.48):
        cross = maybe(rng, 0.6, line((-pane, 0), (pane, 0)), line((0, -pane), (0, pane)))
        house += place([box(-pane, -pane, pane, pane), *cross], x, 0.38 * tall)
    x, top, foot = 0.5 * eaves, -peak - u(0.0, 0.15), (0.2 / eaves - 0.5) * peak
    chimney = line((x, -0.5 * peak), (x, top), (x + 0.2, top), (x + 0.2, foot))
    smoke = garland(arc(x + 0.25, top - 0.3, 0.2, 0.1, 90, 430, points=6), 0.4)
    return [*house, *maybe(rng, 0.6, chimney, *maybe(rng, 0.6, smoke))]


def _sailboat(rng: Rng) -> list[Stroke]:
    u, keel, top, mast = rng.uniform, rng.uniform(0.35, 0.5), rng.uniform(-1.5, -1.1), rng.uniform(-0.1, 0.1)
    hull, boom = curve if rng.random() < 0.5 else line, u(0.6, 0.8)
    boat = [hull((-1, 0), (-0.7, keel), (0.65, keel), (u(1.0, 1.15), 0)), line((-1, 0), (1.05, 0))]
    boat += [line((mast, 0), (mast, top)), line((mast + boom, -0.15), (mast, -0.15))]
    boat += [curve((mast, top), (mast + 0.5 * boom + u(0.0, 0.2), 0.45 * top), (mast + boom, -0.15))]
    jib = line((mast - 0.05, 0.92 * top), (mast - u(0.5, 0.75), -0.12), (mast - 0.04, -0.12))
    flag, crests = loop((mast, top), (mast - 0.25, top - 0.1), (mast, top - 0.2)), np.linspace(-1.3, 1.3, 12)
    sea = curve(*((x, keel + 0.08 * (-1) ** k) for k, x in enumerate(crests)))
    return [*boat, *maybe(rng, 0.7, jib), *maybe(rng, 0.35, flag), *maybe(rng, 0.6, sea)]


def _snowman(rng: Rng) -> list[Stroke]:
    u, head, low, brim = rng.uniform, rng.uniform(0.32, 0.4), rng.uniform(0.6, 0.75), rng.uniform(0.4, 0.5)
    belly, hat = rng.choice([0.0, u(0.42, 0.5), u(0.48, 0.55)]), u(-0.95, -0.7)
    chest = head + (belly or low) - 0.05
    man = [arc(0, 0, head), arc(0, head + 2 * belly + low - (0.13 if belly else 0.03), low)]
    man += [arc(0, chest, belly)] if belly else []
    man += [*smile(0.24), loop((-0.02, 0), (u(0.25, 0.4), 0.06), (0, 0.09))]
    man += [arc(0, chest + y, 0.035) for y in np.linspace(-0.2, 0.2, rng.integers(2, 4))]
    x, y, hand = u(0.7, 0.9), chest - u(0.0, 0.3), (u(0.95, 1.1), chest - u(0.3, 0.5))
    man += maybe(rng, 0.8, *mirror(line((0.42, chest), (x, y), hand), line((x, y), (hand[0] + 0.1, y))))
    topper = line((-0.26, -0.8 * head), (-0.24, hat), (0.24, hat), (0.26, -0.8 * head))
    return [*man, *maybe(rng, 0.7, topper, line((-brim, -0.8 * head), (brim, -0.8 * head)))]


def _star(rng: Rng) -> list[Stroke]:
    points, deep, turn = int(rng.choice([5, 5, 5, 6])), rng.uniform(0.36, 0.5), rng.normal(-90, 10)
    if points == 5 and rng.random() < 0.35:  # in one go, crossing itself
        return [loop(*(polar(1, turn + 144 * k) for k in range(5)))]
    star = loop(*(polar(deep if k % 2 else 1, turn + 180 * k / points) for k in range(2 * points)))
    return [star, *maybe(rng, 0.25, 0.65 * star), *maybe(rng, 0.2, *smile(0.25))]


def _sun(rng: Rng) -> list[Stroke]:
    u, rays, size = rng.uniform, int(rng.integers(8, 17)), rng.uniform(0.4, 0.55)
    sun, step, kind = [arc(0, 0, size)], 360 / rays, rng.choice([0, 1, 2, 2, 2])
    for k, angle in enumerate(u(0, 90) + np.arange(rays) * step):
        reach, near = u(0.85, 1.0) if k % 2 else u(0.95, 1.1), size + 0.07
        spike = line(polar(size, -0.4 * step), (reach, 0), polar(size, 0.4 * step))
        wave = curve(*((near + (reach - near) * t / 3, 0.06 * (-1) ** t) for t in range(4)))
        sun += place([(spike, wave, line((near, 0), (reach, 0)))[kind]], turn=angle)
    return [*sun, *maybe(rng, 0.35, *smile(0.3))]


OUTDOORS: Mapping[str, Figure] = {
    "bicycle": _bicycle,
    "car": _car,
    "house": _house,
    "sailboat": _sailboat,
    "snowman": _snowman,
    "star": _star,
    "sun": _sun,
}
