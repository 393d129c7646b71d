"""What something is done with: one function a class, as `figure` says what a figure is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastsketch.demo.classes.figure import Figure, Rng, maybe
from fastsketch.demo.curves import Point, arc, box, curve, line, loop, mirror, place, polar
from fastsketch.sources.strokes import Stroke


def _clock(rng: Rng) -> list[Stroke]:
    u, hour, minute = rng.uniform, rng.uniform(0, 360), 90 * int(rng.integers(4)) + rng.normal(0, 12)
    clock = [arc(0, 0, 1), line((0, 0), polar(u(0.4, 0.5), hour)), line((0, 0), polar(u(0.65, 0.78), minute))]
    ticks = int(rng.choice([4, 12, 12]))
    clock += [line(polar(u(0.84, 0.88), turn), polar(0.97, turn)) for turn in np.arange(ticks) * 360 / ticks]
    clock += maybe(rng, 0.45, arc(0, 0, u(1.1, 1.2)))
    bell = arc(0.62, -1.2, 0.36, 0.3, 208, 412), line((0.43, -1.33), (0.86, -0.96))
    return [*clock, *maybe(rng, 0.35, *mirror(*bell, line((0.62, 1.0), (0.82, 1.35))))]


def _hourglass(rng: Rng) -> list[Stroke]:
    u, wide, waist, level = rng.uniform, rng.uniform(0.5, 0.65), rng.uniform(0.03, 0.1), rng.uniform(0.3, 0.6)
    cone = line((wide, -0.9), (waist, 0), (wide, 0.9))
    bulbs = curve((wide, -0.9), (0.9 * wide, -0.45), (waist, 0), (0.9 * wide, 0.45), (wide, 0.9))
    glass, at = (mirror(cone), 1.1 * level) if rng.random() < 0.3 else (mirror(bulbs), min(0.85, 1.6 * level))
    plate = box(-wide - 0.1, -0.06, wide + 0.1, 0.06) if rng.random() < 0.5 else arc(0, 0, wide + 0.06, 0.13)
    glass += [*place([plate], y=-0.95), *place([plate], y=0.95)]
    glass += [line((-at * wide, -level), (at * wide, -level)), line((0, -0.1), (0, 0.5))]
    glass.append(curve((-0.8 * wide, 0.85), (0, u(0.4, 0.6)), (0.8 * wide, 0.85)))
    return [*glass, *maybe(rng, 0.4, *mirror(line((wide + 0.08, -0.9), (wide + 0.08, 0.9))))]


def _key(rng: Rng) -> list[Stroke]:
    u, bow, thick, teeth = rng.uniform, rng.uniform(0.3, 0.42), rng.uniform(0.06, 0.1), rng.integers(2, 5)
    tip, deep = u(1.2, 1.6), thick + u(0.13, 0.25)
    bit: list[Point] = [(bow, thick)]
    for x in np.linspace(tip - 0.22 * teeth, tip - 0.14, teeth):
        bit += [(x, thick), (x, deep + u(-0.05, 0.08)), (x + 0.1, deep), (x + 0.1, thick)]
    key = [line((bow, -thick), (tip, -thick), (tip, thick)), line(*bit, (tip, thick))]
    key += [arc(0, 0, bow, bow * u(0.8, 1.2)), arc(-0.1 * bow, 0, bow * u(0.2, 0.6))]
    return place(key, turn=u(0, 360))


def _ladder(rng: Rng) -> list[Stroke]:
    u, rungs, foot, thick = rng.uniform, rng.integers(5, 10), rng.uniform(0.3, 0.45), rng.uniform(0.06, 0.1)
    top, steps = foot * u(0.65, 1.0), (0, 0.06)[: rng.choice([1, 1, 2])]
    beam = loop((foot, 1), (top, -1), (top + thick, -1), (foot + thick, 1))
    ladder = mirror(beam if rng.random() < 0.4 else line((foot, 1), (top, -1)))
    for y in np.linspace(-0.85, 0.85, rungs):
        half = (foot + top) / 2 + (foot - top) / 2 * y
        ladder += [line((-half, y + step), (half, y + step)) for step in steps]
    return place(ladder, turn=u(-30, 30))


def _light_bulb(rng: Rng) -> list[Stroke]:
    u, neck, low, turns = rng.uniform, rng.uniform(0.2, 0.28), rng.uniform(0.75, 1.0), int(rng.integers(2, 5))
    right = [(neck, low), (neck + 0.03, low - 0.2), (0.52, 0.3), (u(0.6, 0.7), -0.1), (0.4, -0.55), (0, -0.7)]
    foot, rays = low + 0.1 * turns, np.linspace(180, 360, rng.integers(5, 9))
    bulb = [curve(*right, *((-x, y) for x, y in right[-2::-1])), line((-neck, low), (neck, low))]
    bulb += mirror(line((neck, low), (neck - 0.02, foot), (0.07, foot + 0.1), (0, foot + 0.14)))
    bulb += [line((-neck, y), (neck, y + 0.05)) for y in np.linspace(low + 0.1, foot - 0.02, turns)]
    wire = zip((-0.2, -0.1, 0, 0.1, 0.2), u(-0.15, 0.15, 5).tolist(), strict=True)
    bulb += maybe(rng, 0.75, line((-0.1, low), *wire, (0.1, low)))
    bulb += maybe(rng, 0.45, *(line(polar(u(0.8, 1), angle), polar(u(1.1, 1.3), angle)) for angle in rays))
    return place(bulb, turn=u(-20, 20) + 180 * (rng.random() < 0.15))


def _scissors(rng: Rng) -> list[Stroke]:
    u, blade, ring, long = rng.uniform, rng.uniform(1.0, 1.3), rng.uniform(0.2, 0.27), rng.uniform(0.75, 0.95)
    edge, shape = [(0.08, 0.1), (0.08, -0.1), (0, -blade), (-0.08, -0.1)], rng.choice([0.9, 1.25, 1.5])
    half = [curve(*edge) if rng.random() < 0.3 else line(*edge), arc(0.1, long, ring, shape * ring)]
    half += [line((0.08, 0.1), (0.14, long - 1.2 * ring)), line((-0.06, -0.05), (-0.02, long - ring))]
    half += maybe(rng, 0.6, arc(0.1, long, 0.65 * ring, 0.85 * ring))
    return place([*mirror(*place(half, turn=-u(12, 28))), arc(0, 0, 0.05)], turn=u(0, 360))


TOOLS: Mapping[str, Figure] = {
    "clock": _clock,
    "hourglass": _hourglass,
    "key": _key,
    "ladder": _ladder,
    "light bulb": _light_bulb,
    "scissors": _scissors,
}
