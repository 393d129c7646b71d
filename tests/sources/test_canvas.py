"""What is drawn fast is what Pillow draws one by one, bit by bit; a copy in JavaScript relies on that."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from fastsketch.conversion.decode import STROKE_MARGIN, STROKE_WIDTH, draw_strokes
from fastsketch.sources import canvas
from fastsketch.sources.canvas import BLOCK, Canvas
from fastsketch.sources.quickdraw import parse_drawing
from fastsketch.sources.strokes import Stroke, _samples_per_pixel, fit_to_canvas, rasterise

SIZES = (1, 5, 8, 17, 28, 64, 100, 150, 165, 180, 200, 224, 237, 256, 300, 333, 384, 600)

PENS = (1e-4, STROKE_WIDTH, 1 / 25, 0.3)
"""Of one pixel, the usual one, a thick one whose discs are still stamped at some sizes, and one that is too thick."""


def by_pillow(strokes: list[Stroke], size: int, width: float) -> npt.NDArray[np.uint8]:
    """Each line, each disc and the mean of the samples by Pillow, on a canvas of its own."""
    samples = _samples_per_pixel(size)
    side = size * samples
    radius = round((max(width * size, 1) * samples - 1) / 2)
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        points = np.floor(stroke * side).astype(np.int64).tolist()
        if len(points) > 1:
            pen.line([coordinate for point in points for coordinate in point], fill=0, width=2 * radius + 1)
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return np.array(image.reduce(samples))


def scribble(seed: int) -> list[Stroke]:
    """A drawing as a hand makes one: a few strokes that change their direction slowly, dots, and strokes of nothing."""
    rng = np.random.default_rng(seed)
    strokes = []
    for _ in range(rng.integers(1, 8)):
        turns = np.cumsum(rng.normal(0, 0.6, rng.integers(0, 25))) + rng.uniform(0, 7)
        steps = rng.gamma(1.5, 12, len(turns))[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        strokes.append((rng.uniform(0, 255, 2) + np.cumsum(steps, axis=0)).round().astype(np.float32))
    strokes.insert(int(rng.integers(len(strokes) + 1)), np.float32(rng.integers(0, 256, (rng.integers(3), 2))))
    return strokes


def drawings(seed: int) -> list[list[Stroke]]:
    """One scribble: within its margins, from edge to edge, leaving the canvas, and almost or wholly beside it."""
    scribbled = scribble(seed)
    fitted = fit_to_canvas(scribbled, STROKE_MARGIN)
    shift = np.random.default_rng(seed).uniform(-1.2, 1.2, 2).astype(np.float32)
    return [
        fitted,
        fit_to_canvas(scribbled, 0),
        [stroke * 3 - 1 for stroke in fitted],
        [stroke + shift for stroke in fitted],
        [stroke + np.float32(2) for stroke in fitted],
    ]


def test_all_numbers_of_samples_are_tried() -> None:
    assert {_samples_per_pixel(size) for size in SIZES} == {3, 4, 5, 6, 7, 8}
    assert {size % BLOCK == 0 for size in SIZES} == {True, False}


@pytest.mark.parametrize("size", SIZES)
def test_drawings_are_pillows(size: int) -> None:
    for seed, width in product(range(4), PENS):
        for number, strokes in enumerate(drawings(seed * len(SIZES) + SIZES.index(size))):
            np.testing.assert_array_equal(
                rasterise(strokes, size, width), by_pillow(strokes, size, width), f"{seed}, {width}, {number}"
            )


coordinates = st.floats(-2, 3, width=32) | st.sampled_from([0.0, 0.5, 1.0])
stroke = arrays.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=coordinates)


@settings(deadline=None, max_examples=200)
@given(st.lists(stroke, max_size=4), st.integers(1, 260), st.sampled_from(PENS) | st.floats(1e-3, 2))
def test_any_strokes_are_pillows(strokes: list[Stroke], size: int, width: float) -> None:
    np.testing.assert_array_equal(rasterise(strokes, size, width), by_pillow(strokes, size, width))


@pytest.mark.parametrize("size", [64, 180, 224])
@pytest.mark.parametrize("radius", [*range(1, canvas._STAMPED + 3)])
def test_discs_of_any_radius_anywhere_are_pillows(size: int, radius: int) -> None:
    width = (2 * radius + 1) / (size * _samples_per_pixel(size))
    places = [0, width / 2, width, 0.3, 1 - width, 1 - width / 2, 1]
    dots = [np.float32([place]) for place in product(places, places)]
    np.testing.assert_array_equal(rasterise(dots, size, width), by_pillow(dots, size, width))
    for dot in dots:  # of which none is hidden by another
        np.testing.assert_array_equal(rasterise([dot], size, width), by_pillow([dot], size, width))


@pytest.mark.parametrize("more", [0, 1])
def test_drawings_of_very_many_points_are_pillows(more: int) -> None:
    stroke = np.random.default_rng(0).uniform(0.1, 0.9, (canvas._STAMPS + more, 2)).astype(np.float32)
    strokes = [stroke[:300], *np.split(stroke[300:], len(stroke) - 300)]  # or it would be all black
    np.testing.assert_array_equal(rasterise(strokes, 300, 1e-4), by_pillow(strokes, 300, 1e-4))


@pytest.mark.parametrize("samples", range(3, 9))
def test_means_are_pillows_for_every_count(samples: int) -> None:
    rng = np.random.default_rng(samples)
    area = samples**2
    cells = np.array([rng.permutation(np.arange(area) < count) for count in np.arange(72 * BLOCK) % (area + 1)])
    ink = np.zeros((75, BLOCK, samples, samples), np.uint8)  # and some blocks of paper
    ink[rng.choice(75, 72, replace=False)] = cells.reshape(-1, BLOCK, samples, samples)
    ink = ink.reshape(25, 3 * BLOCK, samples, samples).swapaxes(1, 2).reshape(25 * samples, 3 * BLOCK * samples)
    expected = np.asarray(Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).reduce(samples))
    np.testing.assert_array_equal(canvas._means(ink, samples), expected)


def test_a_canvas_that_is_kept_is_blank() -> None:
    for seed in range(12):
        for strokes, size in product(drawings(seed), (28, 64, 64, 224)):
            rasterise(strokes, size, PENS[seed % len(PENS)])
            assert len(Canvas._kept) <= 1
            assert not any(kept.ink.any() for kept in Canvas._kept)


def test_a_drawing_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = fit_to_canvas(scribble(0), 0)
    expected = rasterise(strokes, 64, 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(canvas, "_means", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rasterise(fit_to_canvas(scribble(1), 0), 64, 0.1)
    np.testing.assert_array_equal(rasterise(strokes, 64, 0.01), expected)


def test_large_canvases_are_not_kept() -> None:
    Canvas._kept.clear()
    rasterise(fit_to_canvas(scribble(0), 0), 700, 0.01)
    assert not Canvas._kept


def test_threads_do_not_draw_on_each_others_canvas() -> None:
    tasks = [(strokes, size) for seed in range(40) for strokes in drawings(seed)[:3] for size in (64, 96)]
    expected = [rasterise(strokes, size, STROKE_WIDTH) for strokes, size in tasks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda task: rasterise(*task, STROKE_WIDTH), tasks))
    np.testing.assert_equal(found, expected)


def test_a_pillow_that_draws_on_a_copy_is_copied_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(mode: str, size: tuple[int, int], data: Any, *_: object) -> Image.Image:
        return Image.frombytes(mode, size, bytes(data))

    monkeypatch.setattr(Canvas, "_kept", [])
    monkeypatch.setattr(canvas.Image, "frombuffer", copied)
    for strokes, size in product(drawings(3), (60, 224)):
        np.testing.assert_array_equal(rasterise(strokes, size, 0.02), by_pillow(strokes, size, 0.02))
    assert not Canvas._kept


def test_this_pillow_draws_into_our_memory() -> None:
    assert Canvas(8, 8)._shared


@pytest.mark.parametrize("size", [64, 224])
def test_real_drawings_are_pillows(shared_data: Path, size: int) -> None:
    for path in sorted((shared_data / "data" / "quickdraw-strokes").glob("*.gz")):
        with gzip.open(path) as lines:
            line = next(lines)
        strokes = fit_to_canvas(parse_drawing(line), STROKE_MARGIN)
        expected = by_pillow(strokes, size, STROKE_WIDTH)
        np.testing.assert_array_equal(draw_strokes(line, size), expected, path.name)
