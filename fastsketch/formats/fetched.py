"""The images of a data set at a URL, fetched as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastsketch.formats.cache import AT_ONCE, BLOCK, SparseFile, finish


class FetchedImages:
    """uint8 [n, 1, S, S] in a file that is fetched as it is needed; as far as `ImageFiles` uses an array.

    Args:
        file: The file.
        shape: [n, 1, S, S].

    Attributes:
        array: The same, without looking whether what is read is here.
    """

    def __init__(self, file: SparseFile, shape: tuple[int, ...]) -> None:
        self.file, self.shape = file, shape
        self.array = file.mapped(shape)
        self._image = int(np.prod(shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        together = max(1, AT_ONCE * BLOCK // self._image)
        for start in range(0, len(self), together):
            yield from self[start : start + together]

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) else key
        wanted = range(len(self))[rows]
        need([(self, np.arange(wanted.start, wanted.stop) if isinstance(wanted, range) else np.array([wanted]))])
        return self.array[key]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self[:], dtype or np.uint8)

    def missing(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """The blocks of some rows that are not here."""
        return self.file.missing(rows * self._image, self._image)


def need(wanted: Iterable[tuple[FetchedImages, npt.NDArray[np.int64]]]) -> None:
    """Fetch what is not here of some rows, from several files at once.

    Raises:
        DataError: It is not there, or refused.
        FastSketchError: The network or the disk fails.
    """
    missing = [(images.file, found) for images, rows in wanted if (found := images.missing(rows))]
    finish([file.request(block, block + 1) for file, found in missing for block in found])
    for file, found in missing:
        file.mark(found)
