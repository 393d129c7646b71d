"""The inputs that a model was least sure of, out of any number of them."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy.typing as npt

from fastsketch.conversion.decode import DecodeError, Reading
from fastsketch.inference.inputs import Input, read_input
from fastsketch.inference.rows import Row


class _Entry(NamedTuple):
    """Of a heap whose first is the most certain, and of those as certain the one that came last."""

    certainty: float
    place: int
    sample: Input
    row: Row

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        return (self.certainty, self.place) > (other[0], other[1])


class LeastCertain:
    """Keeps some inputs of all that are offered: those whose likeliest class is the least likely.

    Args:
        most: So many.
        reading: How they are read again to be shown.

    Attributes:
        offered: How many there were, without those that could not be read.
    """

    def __init__(self, most: int, reading: Reading) -> None:
        self._most, self._reading = most, reading
        self._heap: list[_Entry] = []
        self.offered = 0

    def offer(self, sample: Input, row: Row) -> None:
        """Keep an input, if it is among the least certain so far."""
        if row.error is not None:
            return
        self.offered += 1
        entry = _Entry(row.probabilities[0], self.offered, sample, row)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def read(self) -> list[tuple[npt.NDArray[Any], Row]]:
        """Images, uint8 [S, S], and rows, the least certain first; without those that are gone by now."""
        found = []
        for _, _, sample, row in sorted(self._heap, reverse=True):
            try:
                found.append((read_input(sample, self._reading)[0], row))
            except DecodeError:
                continue
        return found
