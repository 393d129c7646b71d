"""As many drawings as wanted, of the real ones at hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from .originals import SHARED

JITTER = 3
"""Canvas units, of 256, by which the points of a repeated drawing are moved at most: as a hand trembles."""


def repeat_drawings(folder: Path, drawings: int, *, jitter: int = 0) -> None:
    """Write Quick, Draw! drawings in files of all classes, repeated under new ids as often as it takes.

    Args:
        folder: Is made.
        drawings: How many in all, evenly over the classes.
        jitter: Move each point by up to so many units, seeded: then all are alike, those that come again and the first.
    """
    folder.mkdir()
    files = sorted((SHARED / "quickdraw-strokes").glob("*.ndjson.gz"))
    for number, path in enumerate(files):
        with gzip.open(path) as lines:
            records = [json.loads(line) for line in lines]
        rng = np.random.default_rng(number)
        with (folder / path.name.removesuffix(".gz")).open("w", encoding="utf-8") as out:
            for index in range(len(range(number, drawings, len(files)))):
                record = {**records[index % len(records)], "key_id": f"{index:09d}"}
                if jitter:
                    record["drawing"] = _moved(record["drawing"], rng, jitter)
                out.write(json.dumps(record) + "\n")


def _moved(drawing: list[list[list[int]]], rng: np.random.Generator, jitter: int) -> list[list[list[int]]]:
    points = sum(len(stroke[0]) for stroke in drawing)
    moves = iter(rng.integers(-jitter, jitter + 1, 2 * points).tolist())
    return [[[value + next(moves) for value in axis] for axis in stroke[:2]] for stroke in drawing]
