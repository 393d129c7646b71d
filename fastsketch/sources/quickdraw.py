"""Quick, Draw! drawings: one `.ndjson` or `.ndjson.gz` a class, a drawing a line.

The format is Google's: `word`, `key_id`, and `drawing`, a list of strokes, each `[[x, ...], [y, ...]]` (raw files
add a list of times) in canvas units. https://github.com/googlecreativelab/quickdraw-dataset
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastsketch.errors import DataError
from fastsketch.sources.sample import StrokeSample
from fastsketch.sources.strokes import Stroke

SUFFIXES = (".ndjson", ".ndjson.gz")


class QuickDrawSource:
    """A folder of `<class>.ndjson[.gz]` files, or a single such file.

    Raises:
        DataError: No such file, or two files for one class.
    """

    kind = "quickdraw"
    has_splits = False

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [root] if root.is_file() else sorted(root.iterdir())
        self._files: dict[str, Path] = {}
        for path in files:
            suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
            if suffix is None or path.name.startswith("."):
                continue
            name = path.name.removesuffix(suffix).removeprefix("full_simplified_").removeprefix("full_raw_")
            if name in self._files:
                raise DataError(f"{path}: the class '{name}' is already in {self._files[name].name}")
            self._files[name] = path
        if not self._files:
            raise DataError(f"{root}: no .ndjson or .ndjson.gz file")
        self.class_names = tuple(sorted(self._files))

    def samples(self, label: int) -> Sequence[StrokeSample]:
        """All drawings of one class, sorted by id; one class at a time is in memory (about 90 MB for the largest)."""
        name = self.class_names[label]
        path = self._files[name]
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rb") as lines:
                found = [
                    StrokeSample(_id(name, number, line), line)
                    for number, line in enumerate(lines, start=1)
                    if line.strip()
                ]
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read to its end ({error})", hint="fetch the file again") from error
        if not found:
            raise DataError(f"{path}: class '{name}' has no drawing")
        return sorted(found, key=lambda sample: sample.id)


def parse_drawing(line: bytes) -> list[Stroke]:
    """One ndjson line to strokes in canvas units (x right, y down), float32 [points, 2] each.

    Raises:
        ValueError: The line is not JSON or not a drawing.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and that is looked for below
            strokes = [np.array(stroke[:2], dtype=np.float32).T for stroke in json.loads(line)["drawing"]]
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a Quick, Draw! record: {error!r}") from error
    strokes = [stroke for stroke in strokes if stroke.size]
    if not strokes:
        raise ValueError("a drawing without strokes")
    if any(stroke.ndim != 2 or stroke.shape[1] != 2 or not np.isfinite(stroke).all() for stroke in strokes):
        raise ValueError("a stroke is not a list of x and a list of y")
    return strokes


def _id(class_name: str, number: int, line: bytes) -> str:
    """`<class>/<key_id>`; a line without one is known by its number, so that the summary can point at it."""
    try:
        key = json.loads(line)["key_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        key = f"line-{number:09d}"
    return f"{class_name}/{key}"
