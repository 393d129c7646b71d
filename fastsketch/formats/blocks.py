"""The bytes of a file, a block at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20
"""Bytes read at a time: what is hashed still lies in the processor's cache."""


def blocks(path: Path, start: int = 0, length: int | None = None) -> Iterator[memoryview]:
    """The bytes of a file, or `length` of them from `start` on, in blocks, each valid until the next is asked for."""
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), start, length or 0, os.POSIX_FADV_SEQUENTIAL)
        file.seek(start)
        left = sys.maxsize if length is None else length
        while left and (count := file.readinto(buffer[:left])):
            left -= count
            yield buffer[:count]
