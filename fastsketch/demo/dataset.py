"""The demo data set: sketches of everyday things, drawn by our own code, so that a demo downloads nothing."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastsketch.demo.classes import FIGURES
from fastsketch.demo.classes.figure import Rng
from fastsketch.sources.sample import SPLITS
from fastsketch.sources.strokes import Stroke, fit_to_canvas, rasterise
from fastsketch.workers import process_pool

DRAWN_CLASSES: tuple[str, ...] = tuple(sorted(FIGURES))
"""The classes that can be drawn, in torchvision's order (plain sort)."""

_BLOCK = 100_000
"""Indices set aside for a split: fixed, so that larger counts later on repeat no drawing of another split."""

_BORDER = 0.025
"""Canvas sides left free all around, so that a thick pen stays on the canvas and off the outermost pixels."""

_SPACING = 0.012
"""Distance in canvas sides between the points that the hand's errors act on; finer than any of them."""


def draw(name: str, seed: int, index: int) -> list[Stroke]:
    """One drawing, the same for the same arguments (and release of NumPy) in any order, process and session.

    Args:
        name: one of `DRAWN_CLASSES`.
        seed: chooses the person who draws, so to speak; at least 0.
        index: which of that person's drawings of this class; at least 0.

    Returns:
        float32 [points, 2] each, in canvas sides, at least 0.025 away from the edges of the canvas.

    Raises:
        ValueError: there is no such class, or `seed` or `index` is negative.
    """
    rng = _generator(name, seed, index, purpose="draw")
    return _by_hand(FIGURES[name](rng), rng)


def pen_width(name: str, seed: int, index: int) -> float:
    """The pen that goes with `draw(name, seed, index)`: its diameter in canvas sides.

    TU-Berlin's is 0.0045 (5 of 1111 pixels) throughout; ours varies from a little thinner to twice as thick.

    Raises:
        ValueError: as `draw`.
    """
    return float(np.exp(_generator(name, seed, index, purpose="pen").uniform(np.log(0.004), np.log(0.009))))


def draw_dataset(
    folder: Path,
    *,
    counts: Mapping[str, int],
    size: int = 1111,
    seed: int = 0,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the data set as `folder/<split>/<class>/<index>.png`, 8-bit gray, paper = 255.

    No drawing is in two splits. Each file appears whole or not at all, and files that are there already are
    kept: an interrupted call goes on where it stopped, and a call with larger counts adds what is missing.
    Give every seed and size a folder of its own.

    Args:
        folder: made if missing.
        counts: drawings of each class by split; the splits are among `SPLITS`.
        size: side of the images in pixels. The default is TU-Berlin's.
        seed: see `draw`.
        workers: processes to draw with. 1 draws in this one; more are spawned, so that a script which asks
            for them needs the usual `if __name__ == "__main__"`.
        on_progress: called in this process with (files there by now, files in all), first with those kept.

    Raises:
        ValueError: an unknown split, a count outside [0, 100000], `size`, `seed` or `workers` out of range.
        OSError: a file could not be written.
    """
    for split, count in counts.items():
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, the splits are {', '.join(SPLITS)}")
        if not 0 <= count <= _BLOCK:
            raise ValueError(f"the count of {split!r} must lie within [0, {_BLOCK}], got {count}")
    if size < 1 or seed < 0 or workers < 1:
        raise ValueError(f"size and workers start at 1, seed at 0, got {size}, {workers} and {seed}")

    drawings = [
        _Drawing(name, index, folder / split / name / f"{index:06d}.png")
        for split, count in counts.items()
        for name in DRAWN_CLASSES
        for index in range(_BLOCK * SPLITS.index(split), _BLOCK * SPLITS.index(split) + count)
    ]
    missing = [drawing for drawing in drawings if not drawing.path.exists()]
    for parent in {drawing.path.parent for drawing in missing}:
        parent.mkdir(parents=True, exist_ok=True)

    done = len(drawings) - len(missing)
    if on_progress is not None:
        on_progress(done, len(drawings))
    # Closed here: the traceback of an exception would keep the generator alive, and its processes at work.
    with closing(_each(partial(_write, size=size, seed=seed), missing, workers)) as written:
        for _ in written:
            done += 1
            if on_progress is not None:
                on_progress(done, len(drawings))


@dataclass(frozen=True, slots=True)
class _Drawing:
    name: str
    index: int
    path: Path


def _each(write: Callable[[_Drawing], None], drawings: list[_Drawing], workers: int) -> Generator[None, None, None]:
    """Write all drawings, yielding after each, in this process or in several."""
    if workers == 1:
        yield from map(write, drawings)
        return
    with process_pool(min(workers, max(1, len(drawings)))) as pool:
        yield from pool.map(write, drawings, chunksize=8)


def _write(drawing: _Drawing, *, size: int, seed: int) -> None:
    """Draw one file."""
    strokes = draw(drawing.name, seed, drawing.index)
    pixels = rasterise(strokes, size, pen_width(drawing.name, seed, drawing.index))
    # Run lengths are all there is to find in a sketch: as small as level 6 makes it, in half the time.
    encoding = {"compress_level": 1, "compress_type": zlib.Z_RLE}
    temporary = drawing.path.with_name(f".{drawing.path.name}.{os.getpid()}")
    try:
        Image.fromarray(pixels).save(temporary, format="PNG", **encoding)
        os.replace(temporary, drawing.path)
    finally:
        temporary.unlink(missing_ok=True)


def _generator(name: str, seed: int, index: int, *, purpose: str) -> Rng:
    """Each drawing and purpose has its own; CRC-32 because Python's hashes differ from session to session."""
    if name not in FIGURES:
        raise ValueError(f"unknown class {name!r}, the classes are {', '.join(DRAWN_CLASSES)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be at least 0, got {seed} and {index}")
    return np.random.default_rng([seed, index, zlib.crc32(f"{purpose} {name}".encode())])


def _by_hand(figure: list[Stroke], rng: Rng) -> list[Stroke]:
    """Redraw an exact figure as a person would: parts a little off, lines unsteady, the whole askew."""
    haste = rng.uniform(0.4, 1.5)
    drawn: list[Stroke] = []
    # To the canvas first: a hand errs by so much of the paper, whatever unit the figure came in.
    for stroke in fit_to_canvas(figure, margin=0.0):
        times = 2 if rng.random() < 0.05 else 1
        drawn += [_follow(stroke, haste, rng) for _ in range(times)]
    margin = rng.uniform(0.05, 0.15)
    shift = rng.uniform(_BORDER - margin, margin - _BORDER, 2).astype(np.float32)
    return [stroke + shift for stroke in fit_to_canvas(_askew(drawn, rng), margin)]


def _follow(stroke: Stroke, haste: float, rng: Rng) -> Stroke:
    """Trace a stroke by hand: beginning and ending early or late, wandering off and back on the way."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    length = float(along[-1])
    if length == 0:
        return stroke
    slack = min(0.012 * haste, 0.08 * length)
    start, stop = rng.normal(0, slack), length + rng.normal(0, slack)
    at = np.linspace(start, stop, 2 + int(length / _SPACING))
    if math.dist(stroke[0], stroke[-1]) < 1e-4:  # round and round: what ends late overlaps the beginning
        path = np.stack([np.interp(at, along, axis, period=length) for axis in stroke.T], axis=1)
    else:
        path = np.stack([np.interp(at, along, axis) for axis in stroke.T], axis=1)
        path += np.minimum(at, 0)[:, None] * _direction(stroke[0], stroke[1])
        path += np.maximum(at - length, 0)[:, None] * _direction(stroke[-2], stroke[-1])

    # The longer a wave, the further it may swing: that is a hand's drift; the other way round is a tremor.
    waves = rng.uniform(0.12, 0.9, 3)
    phases = 2 * np.pi * at[:, None] / waves
    swings = 0.009 * haste * rng.normal(size=(6, 2)) * np.tile(waves, 2)[:, None]
    path += np.concatenate([np.sin(phases), np.cos(phases)], axis=1) @ swings
    path += rng.normal(0, 0.004 * haste, 2)
    return path.astype(np.float32)


def _askew(strokes: list[Stroke], rng: Rng) -> list[Stroke]:
    """The whole drawing bent, sheared, squeezed, turned and, half the time, seen from the other side."""
    turn, shear, squeeze = np.radians(rng.normal(0, 5)), rng.normal(0, 0.06), np.exp(rng.normal(0, 0.08))
    side = rng.choice([-1.0, 1.0])
    rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    view = np.array([[side * squeeze, 0.0], [shear, 1 / squeeze]]) @ rotate
    # One slow wave over the whole canvas bends the parts together, so that what touched still does.
    swing, phase, waves = rng.normal(0, 0.015, 2), rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.5, 1.2, 2)
    bent = (stroke + swing * np.sin(2 * np.pi * waves * stroke[:, ::-1] + phase) for stroke in strokes)
    return [(stroke @ view).astype(np.float32) for stroke in bent]


def _direction(start: npt.NDArray[np.float32], end: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vector [2] from one point to another, zero if they are the same."""
    step = end - start
    return step / max(float(np.hypot(*step)), 1e-9)
