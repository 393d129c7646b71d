"""Bits to flip: where they lie is seeded, and every file of a data set has its share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

EDGE = 2048
"""Headers, tables and short files lie within so many bytes of a file's ends; the rest may be megabytes of pixels."""


def spread_bits(folder: Path, count: int, seed: int) -> list[tuple[str, int]]:
    """`count` bits, evenly over the files of `folder`: in each by turns anywhere, near its beginning, near its end."""
    rng = np.random.default_rng(seed)
    lengths = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    names = list(lengths)
    bits = []
    for number in range(count):
        name = names[number % len(names)]
        length, turn = lengths[name], number // len(names) % 3
        first = max(0, length - EDGE) if turn == 2 else 0
        last = min(length, EDGE) if turn == 1 else length
        bits.append((name, int(rng.integers(8 * first, 8 * last))))
    return bits


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is another, for as long as the context lasts."""
    _flip(path, bit)
    try:
        yield
    finally:
        _flip(path, bit)


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        [byte] = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
