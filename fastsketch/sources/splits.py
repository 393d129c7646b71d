"""Seeded stratified splits: so many, or such a share, of every class."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import default_rng  # NumPy would load it at its first use, and lose a Ctrl-C that comes then

from fastsketch.errors import ConfigError, DataError
from fastsketch.sources.sample import SPLITS

MOST = 10**9
"""Samples of a class that can be asked for."""


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """How to divide a class into train, val and (if a third number is given) test.

    Attributes:
        parts: Two or three numbers: samples a class, or fractions that add up to 1.
        counts: Whether `parts` are samples a class.
    """

    parts: tuple[float, ...]
    counts: bool

    @classmethod
    def parse(cls, text: str) -> SplitSpec:
        """Read `48/9/23` (samples a class) or `0.8/0.1/0.1` (fractions).

        Raises:
            ConfigError: Anything else.
        """
        try:
            parts = tuple(float(part) for part in text.split("/"))
        except ValueError:
            parts = ()
        usable = 2 <= len(parts) <= len(SPLITS) and parts[0] > 0 and min(parts) >= 0
        if usable and abs(sum(parts) - 1) < 1e-6:
            return cls(parts, counts=False)
        if usable and all(part.is_integer() and part <= MOST for part in parts):
            return cls(parts, counts=True)
        raise ConfigError(
            f"'{text}' is not a split",
            hint="give samples a class (48/9/23) or fractions that add up to 1 (0.8/0.1/0.1)",
        )

    def assign(self, class_name: str, size: int, seed: int) -> Sequence[str | None]:
        """The split of each of a class's `size` samples; None for those left over when counts are given.

        The permutation depends on the seed and the class's own name alone, so that adding a class moves no other
        class's samples.

        Raises:
            DataError: The class has fewer samples than the counts ask for.
        """
        if self.counts:
            sizes = [int(part) for part in self.parts]
            if size < sum(sizes):
                raise DataError(
                    f"class '{class_name}' has {size} samples, the split asks for {sum(sizes)}",
                    hint="ask for fewer, or for shares, which fit classes of any size: --split 0.8/0.1/0.1",
                )
        else:
            others = [round(part * size) for part in self.parts[1:]]
            while sum(others) >= size > 0:  # however small the class, one sample is left to train on
                others[others.index(max(others))] -= 1
            sizes = [size - sum(others), *others]
        assigned: list[str | None] = [None] * size
        order = default_rng([seed, zlib.crc32(class_name.encode())]).permutation(size)
        start = 0
        for split, count in zip(SPLITS, sizes, strict=False):
            for index in order[start : start + count]:
                assigned[index] = split
            start += count
        return assigned
