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
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastsketch import atomic
from fastsketch.errors import BackendMissing
from fastsketch.formats.pack import PackSplit

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


def write_beton(path: Path, split: PackSplit) -> None:
    """Write a split as `path`, atomically.

    Raises:
        BackendMissing: FFCV is not installed.
    """
    types, fields = import_ffcv("types"), import_ffcv("fields")
    count, shape = len(split), split.images.shape[1:]
    sample = int(np.prod(shape))
    page = max(PAGE, 1 << (sample - 1).bit_length())
    handlers = [fields.NDArrayField(np.dtype(np.uint8), shape), fields.IntField(), fields.IntField()]
    record = types.get_metadata_type(handlers)
    descriptors = _descriptors(types, handlers)
    metadata_end = types.HeaderType.itemsize + descriptors.nbytes + count * record.itemsize
    data_start = -(-metadata_end // page) * page
    per_page = page // sample
    pages = -(-count // per_page)

    header = np.zeros(1, types.HeaderType)
    header["version"] = types.CURRENT_VERSION
    header["num_fields"] = len(handlers)
    header["page_size"] = page
    header["num_samples"] = count
    header["alloc_table_ptr"] = data_start + pages * page

    def addresses(start: int, stop: int) -> Any:
        indices = np.arange(start, stop, dtype=np.uint64)
        return data_start + indices // per_page * page + indices % per_page * sample

    blocks = [(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header.tobytes())
        file.write(descriptors.tobytes())
        for start, stop in blocks:
            records = np.zeros(stop - start, record)
            # The names that NumPy gave to the unnamed fields, in the order of FIELDS.
            image, label, index = record.names
            records[image] = addresses(start, stop)
            records[label] = split.labels[start:stop]
            records[index] = np.arange(start, stop)
            file.write(records.tobytes())
        file.write(bytes(data_start - metadata_end))
        for start in range(0, count, per_page):
            images = split.images[start : start + per_page]
            file.write(images.data)
            file.write(bytes(page - images.nbytes))
            split.release()
        for start, stop in blocks:
            allocations = np.zeros(stop - start, types.ALLOC_TABLE_TYPE)
            allocations["sample_id"] = np.arange(start, stop)
            allocations["ptr"] = addresses(start, stop)
            allocations["size"] = sample
            file.write(allocations.tobytes())


def _descriptors(types: Any, handlers: list[Any]) -> Any:
    """What the file says of its fields."""
    type_ids = {handler: number for number, handler in types.TYPE_ID_HANDLER.items()}
    descriptors = np.zeros(len(handlers), types.FieldDescType)
    for descriptor, name, handler in zip(descriptors, FIELDS, handlers, strict=True):
        descriptor["type_id"] = type_ids[type(handler)]
        descriptor["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
        descriptor["arguments"][:] = handler.to_binary()[0]
    return descriptors
