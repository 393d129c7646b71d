"""Quick, Draw! drawings: one `.ndjson` or `.ndjson.gz` a class, a drawing a line.

The format is Google's: `word`, `key_id`, and `drawing`, a list of strokes, each `[[x, ...], [y, ...]]` (raw files
add a list of times) in canvas units. https://github.com/googlecreativelab/quickdraw-dataset
"""

from __future__ import annotations

import gzip
import json
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from fastsketch.errors import DataError
from fastsketch.sources.files import Entry, entries, is_file, is_folder, open_regular, state_of
from fastsketch.sources.sample import ImageSample, StrokeSample, is_printable, printable
from fastsketch.sources.strokes import Ends, Points, Stroke, split
from fastsketch.urls import written

SUFFIXES = (".ndjson", ".ndjson.gz")

LONGEST = 1 << 22
"""Bytes of a line: as numbers, its points take some forty times as much memory while they are drawn."""

_LONGEST_KEY = 100
"""Letters of a `key_id`: Google's have 16."""

_TOO_LONG = b"too long"
"""Stands for a line that is."""


class QuickDrawSource:
    """A folder of `<class>.ndjson[.gz]` files, or a single such file.

    Raises:
        DataError: No such file, a folder that cannot be read, two files for one class, a folder or a pipe with a file's
            name, or a name that is not UTF-8 or not one line.
    """

    kind = "quickdraw"
    splits: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        self.root = root
        files: list[tuple[Path, Entry | Path]] = [(root, root)]
        if is_folder(root):
            files = [(root / entry.name, entry) for entry in entries(root)]
        self._files: dict[str, Path] = {}
        for path, entry in files:
            suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
            if suffix is None:
                continue
            name = path.name.removesuffix(suffix).removeprefix("full_simplified_").removeprefix("full_raw_")
            if not is_printable(name):
                raise DataError(f"{written(root)}: the file name '{printable(path.name)}' is not UTF-8 or not one line")
            if not is_file(entry):
                raise DataError(
                    f"{written(path)}: not a file", hint="remove it, or put a file of drawings in its place"
                )
            if name in self._files:
                raise DataError(f"{written(path)}: the class '{name}' is already in {self._files[name].name}")
            self._files[name] = path
        if not self._files:
            raise DataError(f"{written(root)}: no .ndjson or .ndjson.gz file")
        self.class_names = tuple(sorted(self._files))

    def samples(self, label: int) -> Sequence[StrokeSample]:
        """All drawings of one class, sorted by id; one class at a time is in memory (about 90 MB for the largest)."""
        name = self.class_names[label]
        path = self._files[name]
        found = list(drawings(path, name))
        if not found:
            raise DataError(f"{written(path)}: class '{name}' has no drawing")
        return sorted(_distinct(found), key=lambda sample: sample.id)

    def unread(self) -> Counter[str]:
        """None: other files than those of drawings are never meant."""
        return Counter()

    def state(self, label: int) -> str:
        """A digest of what the file of one class is on disk."""
        path = self._files[self.class_names[label]]
        return state_of([ImageSample(printable(path.name), path)])


def drawings(path: Path, name: str) -> Iterator[StrokeSample]:
    """The drawings of one file, one after the other; their ids begin with `name`.

    Raises:
        DataError: It cannot be read to its end.
    """
    try:
        with open_regular(path) as file, _decompressed(path, file) as lines:
            for number, line in _lines(lines):
                yield StrokeSample(_id(name, number, line), line)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"{written(path)}: cannot be read to its end ({reason})", hint="fetch the file again"
        ) from error


def _decompressed(path: Path, file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "rb")) if path.suffix == ".gz" else file


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1; of one that is too long, only that it is."""
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        if len(line) == LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST)
            yield number, _TOO_LONG
        elif line.strip():
            yield number, line


def _distinct(samples: list[StrokeSample]) -> Iterator[StrokeSample]:
    """The samples, of which those that have an earlier one's id get another."""
    seen: set[str] = set()
    for number, sample in enumerate(samples, start=1):
        id = sample.id
        while id in seen:
            id += f", drawing {number}"
        seen.add(id)
        yield sample if id == sample.id else replace(sample, id=id)


def parse_drawing(line: bytes) -> list[Stroke]:
    """One ndjson line to strokes in canvas units (x right, y down), float32 [points, 2] each.

    Raises:
        ValueError: The line is not JSON or not a drawing.
    """
    points, ends = parse_points(line)
    return [stroke for stroke in split(points, ends) if len(stroke)]


def parse_points(line: bytes) -> tuple[Points, Ends]:
    """The same as one array."""
    if line == _TOO_LONG:
        raise ValueError(f"a line of more than {LONGEST:,} bytes")
    across, down, ends = array("f"), array("f"), [0]
    try:
        for stroke in json.loads(line)["drawing"]:
            xs, ys = [*stroke[:2], [], []][:2]  # some have no points, and some of these no lists of them
            across.fromlist(xs)
            down.fromlist(ys)
            if len(across) != len(down):
                raise ValueError("a stroke is not a list of x and a list of y")
            ends.append(len(across))
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a Quick, Draw! record: {error!r}") from error
    if not across:
        raise ValueError("a drawing without strokes")
    points = np.array((across, down)).T
    if not np.isfinite(points).all():
        raise ValueError("a stroke is not a list of x and a list of y")
    return points, ends


def _id(class_name: str, number: int, line: bytes) -> str:
    """`<class>/<key_id>`; a line without one is known by its number, so that the summary can point at it."""
    try:
        key = str(json.loads(line)["key_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        key = ""
    if not 0 < len(key) <= _LONGEST_KEY:
        key = f"line-{number:09d}"
    return printable(f"{class_name}/{key}")
