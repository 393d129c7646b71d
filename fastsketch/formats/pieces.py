"""Files whose every byte follows from the pack: made piece by piece, to be written or to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastsketch import atomic

Piece = bytes | memoryview


def write_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Write `path`, atomically."""
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        for piece in pieces:
            file.write(piece)


def holds_pieces(path: Path, pieces: Iterable[Piece], *, start: int = 0, ends: bool = True) -> bool:
    """Whether a file holds these bytes from `start` on and, unless told that it does not end so, none after them."""
    with path.open("rb") as file:
        file.seek(start)
        for piece in pieces:
            expected = memoryview(piece).cast("B")
            if file.read(len(expected)) != expected:
                return False
        return not ends or not file.read(1)
