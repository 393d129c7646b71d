"""The images of a split that lie in several files, read as one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastsketch.formats.fetched import FetchedImages, need

Pixels = npt.NDArray[np.uint8]


class ImageFiles:
    """uint8 [N, 1, S, S], as far as an array of images is used: its shape, a row, some rows, all of them in turn.

    Some rows that lie in one file are a view of it; those of several are copied together.

    Args:
        files: uint8 [n, 1, S, S] each, memory-mapped, with the same n in all but the last; at a URL, fetched as they
            are needed.
    """

    def __init__(self, files: Sequence[Pixels | FetchedImages]) -> None:
        self.files = files
        self._fetched = [file for file in files if isinstance(file, FetchedImages)]
        self._arrays = [file.array if isinstance(file, FetchedImages) else file for file in files]
        self.shape = (sum(map(len, files)), *files[0].shape[1:])
        self._per_file = len(files[0])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Pixels]:
        for file in self.files:
            yield from file

    def __getitem__(self, key: Any) -> Any:
        """A row, a slice of step 1 or an array of rows; after a comma, what is wanted of each image."""
        rows, *within = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice):
            return self._slice(*rows.indices(len(self))[:2])[(slice(None), *within)]
        if np.ndim(rows) == 0:
            file, row = divmod(range(len(self))[rows], self._per_file)
            return self.files[file][(row, *within)]
        indices = np.arange(len(self))[rows]
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        self.take(indices, images)
        return images[(slice(None), *within)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.concatenate(self.files).astype(dtype or np.uint8, copy=False)

    def take(self, indices: npt.NDArray[np.int64], images: Pixels) -> None:
        """Copy the n images at `indices`, all of them within, into `images` [n, 1, S, S]."""
        numbers, rows = np.divmod(indices, self._per_file)
        if self._fetched:
            each = enumerate(self.files)
            need((file, rows[numbers == number]) for number, file in each if isinstance(file, FetchedImages))
        for image, number, row in zip(images, numbers.tolist(), rows.tolist(), strict=True):
            image[:] = self._arrays[number][row]

    def _slice(self, start: int, stop: int) -> Pixels:
        if stop <= start:
            return self.files[0][:0]
        pieces = [
            self.files[file][max(0, start - file * self._per_file) : stop - file * self._per_file]
            for file in range(start // self._per_file, (stop - 1) // self._per_file + 1)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
