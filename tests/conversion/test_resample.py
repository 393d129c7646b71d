from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastsketch.conversion import resample
from fastsketch.conversion.decode import Reading, decode
from fastsketch.conversion.resample import RESAMPLING, equals_pillow, in_two_passes, resized
from fastsketch.sources.sample import ImageSample

FILTERS = sorted(RESAMPLING.keys() - {"nearest"})


def by_pillow(pixels: np.ndarray, height: int, width: int, filter: str) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((width, height), RESAMPLING[filter]))


def image(shape: tuple[int, int], kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    pixels = np.full(shape, 255, np.uint8)
    if kind == "strokes":
        pixels[rng.integers(shape[0])] = rng.integers(0, 256)
        pixels[rng.random(shape) < 0.01] = 0
    return pixels


@settings(deadline=None, max_examples=60)
@given(
    size=st.sampled_from([8, 16, 64, 96, 224]),
    scale=st.floats(2, 9),
    filter=st.sampled_from(FILTERS),
    kind=st.sampled_from(["noise", "strokes", "blank"]),
    seed=st.integers(0, 99),
)
def test_two_passes_are_pillows_wherever_the_trial_says_so(size, scale, filter, kind, seed) -> None:
    side = round(size * scale)
    if equals_pillow((side, side), size, size, filter):
        pixels = image((side, side), kind, seed)
        assert np.array_equal(in_two_passes(pixels, size, size, filter), by_pillow(pixels, size, size, filter))


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    new=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    filter=st.sampled_from(sorted(RESAMPLING)),
    kind=st.sampled_from(["noise", "strokes"]),
)
def test_any_size_is_pillows(height, width, new, filter, kind) -> None:
    pixels = image((height, width), kind, 0)
    resample._seen[pixels.shape] = resample.TRIAL  # as if there had been many before
    assert np.array_equal(resized(pixels, *new, filter), by_pillow(pixels, *new, filter))


@pytest.mark.parametrize("size", [64, 128, 224, 384])
def test_tu_berlin_is_resized_fast(size: int) -> None:
    assert equals_pillow((1111, 1111), size, size, "bilinear")


def test_a_pillow_that_does_otherwise_is_not_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a later Pillow round differently, the trial finds out, and Pillow itself does the work."""
    pixels = image((90, 90), "noise", 1)
    expected = by_pillow(pixels, 16, 16, "bilinear")
    monkeypatch.setattr(resample, "in_two_passes", lambda *_: expected + 1)
    equals_pillow.cache_clear()
    resample._seen[pixels.shape] = resample.TRIAL
    try:
        assert np.array_equal(resized(pixels, 16, 16, "bilinear"), expected)
    finally:
        equals_pillow.cache_clear()


def test_the_trial_waits_until_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(resample, "equals_pillow", lambda *size: tried.append(size))
    monkeypatch.setattr(resample, "_seen", Counter())  # hypothesis may have shown it this very size before
    pixels = image((77, 77), "noise", 1)
    for _ in range(resample.TRIAL):
        resized(pixels, 16, 16, "box")
    assert not tried
    resized(pixels, 16, 16, "box")
    assert len(tried) == 1


def test_real_sketches_are_resized_as_by_pillow(shared_data: Path) -> None:
    resample._seen[1111, 1111] = resample.TRIAL
    for path in sorted((shared_data / "data" / "tuberlin1111").glob("*/*.png"))[::30]:
        with Image.open(path) as original:
            expected = np.asarray(original.convert("L").resize((224, 224), Image.Resampling.BILINEAR))
        assert np.array_equal(decode(ImageSample("x", path), Reading(224, "bilinear")), expected)
