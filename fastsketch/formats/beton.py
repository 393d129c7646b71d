"""The `ffcv` format: one `.beton` a split, which plain FFCV opens.

| field   | type                                                           |
|---------|----------------------------------------------------------------|
| `image` | `NDArrayField` uint8 [1, S, S], paper = 255: a fixed-size copy |
| `label` | `IntField`                                                     |
| `index` | `IntField`: the sample's position in the pack                  |

FFCV's own writer forks, waits for ever if a worker dies (of a full disk, say), keeps a Python tuple for every sample
and orders pages by which worker was first. Samples of one size need none of that: where each lies is arithmetic. The
types are FFCV's own, and the file is, byte for byte, what its writer makes with a single worker.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastsketch.errors import BackendMissing
from fastsketch.formats.files import FileRecord
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.pieces import Piece, holds_pieces

FIELDS = ("image", "label", "index")

PAGE = 1 << 23
"""FFCV's default page size in bytes. A sample lies within one page; larger images get larger pages."""

BLOCK = 1 << 16
"""Samples whose records are in memory at a time."""


def require_ffcv() -> None:
    """Tell that FFCV is missing before any work is done for it; importing it takes seconds.

    Raises:
        BackendMissing: FFCV is not installed.
    """
    if sys.modules.get("ffcv", True) is None or importlib.util.find_spec("ffcv") is None:
        raise _missing("no module named 'ffcv'")


def import_ffcv(module: str) -> Any:
    """FFCV's submodule of that name.

    Raises:
        BackendMissing: FFCV is not installed, or one of the libraries that it was built with is gone.
    """
    try:
        torch = importlib.import_module("torch")  # no plain import: converting alone needs no torch
        threads = torch.get_num_threads()
        try:
            return importlib.import_module(f"ffcv.{module}")
        finally:
            torch.set_num_threads(threads)  # importing FFCV leaves the whole process with one
    except ImportError as error:
        raise _missing(str(error)) from error


def _missing(reason: str) -> BackendMissing:
    note = "; it is built on the spot (Debian, Ubuntu: apt install g++ python3-dev pkg-config libopencv-dev "
    return BackendMissing.of("FFCV", reason, "ffcv", note + "libturbojpeg0-dev)")


class Beton:
    """The file of a split, piece by piece: it is written from this, and compared with it.

    Raises:
        BackendMissing: FFCV is not installed.
    """

    def __init__(self, split: PackSplit) -> None:
        self._types, fields = import_ffcv("types"), import_ffcv("fields")
        self._split, self._count = split, len(split)
        self._sample = math.prod(split.image_shape)
        self._page = max(PAGE, 1 << (self._sample - 1).bit_length())
        handlers = [fields.NDArrayField(np.dtype(np.uint8), split.image_shape), fields.IntField(), fields.IntField()]
        self._record = self._types.get_metadata_type(handlers)
        self._descriptors = _descriptors(self._types, handlers)
        head = self._types.HeaderType.itemsize + self._descriptors.nbytes + self._count * self._record.itemsize
        self._data_start = -(-head // self._page) * self._page
        self._per_page = self._page // self._sample
        pages = -(-self._count // self._per_page)
        self.tail = self._data_start + pages * self._page
        """Where the allocation table begins, behind the images."""

    def pieces(self) -> Iterator[Piece]:
        """The whole file, in order."""
        yield from self.head()
        for start in range(0, self._count, self._per_page):
            images = self._split.images[start : start + self._per_page]
            yield images.data
            yield bytes(self._page - images.nbytes)
            self._split.release()
        yield from self.allocations()

    def head(self) -> Iterator[Piece]:
        """All before the images: header, fields, and a record of each sample; up to whole pages."""
        header = np.zeros(1, self._types.HeaderType)
        header["version"] = self._types.CURRENT_VERSION
        header["num_fields"] = len(FIELDS)
        header["page_size"] = self._page
        header["num_samples"] = self._count
        header["alloc_table_ptr"] = self.tail
        yield header.tobytes()
        yield self._descriptors.tobytes()
        # The names that NumPy gave to the unnamed fields, in the order of FIELDS.
        image, label, index = self._record.names
        written = header.nbytes + self._descriptors.nbytes
        for start, stop in self._blocks():
            records = np.zeros(stop - start, self._record)
            records[image] = self._addresses(start, stop)
            records[label] = self._split.labels[start:stop]
            records[index] = np.arange(start, stop)
            written += records.nbytes
            yield records.tobytes()
        yield bytes(self._data_start - written)

    def allocations(self) -> Iterator[Piece]:
        """The table of where each sample's image lies."""
        for start, stop in self._blocks():
            allocations = np.zeros(stop - start, self._types.ALLOC_TABLE_TYPE)
            allocations["sample_id"] = np.arange(start, stop)
            allocations["ptr"] = self._addresses(start, stop)
            allocations["size"] = self._sample
            yield allocations.tobytes()

    def _addresses(self, start: int, stop: int) -> Any:
        indices = np.arange(start, stop, dtype=np.uint64)
        return self._data_start + indices // self._per_page * self._page + indices % self._per_page * self._sample

    def _blocks(self) -> Iterator[tuple[int, int]]:
        return ((start, min(start + BLOCK, self._count)) for start in range(0, self._count, BLOCK))


def checked_beton(folder: Path, file: FileRecord, split: PackSplit) -> Path:
    """The recorded file of a split, once all but its pixels is known to be what is written for it: FFCV believes it.

    Raises:
        BackendMissing: FFCV is not installed.
        DataError: It is not, or the file is missing or of another length.
    """
    path, beton = file.locate(folder), Beton(split)
    heads = holds_pieces(path, beton.head(), ends=False)
    if not heads or not holds_pieces(path, beton.allocations(), start=beton.tail):
        raise file.changed(folder)
    return path


def _descriptors(types: Any, handlers: list[Any]) -> Any:
    """What the file says of its fields."""
    type_ids = {handler: number for number, handler in types.TYPE_ID_HANDLER.items()}
    descriptors = np.zeros(len(handlers), types.FieldDescType)
    for descriptor, name, handler in zip(descriptors, FIELDS, handlers, strict=True):
        descriptor["type_id"] = type_ids[type(handler)]
        descriptor["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
        descriptor["arguments"][:] = handler.to_binary()[0]
    return descriptors
