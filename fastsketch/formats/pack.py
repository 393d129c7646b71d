"""The `pack` format: one raw file of uint8 pixels a split, with labels, ink counts and ids beside it.

For a split of N samples of S × S pixels, in the order of classes and, within a class, of ids:

| file              | content                                                                        |
|-------------------|--------------------------------------------------------------------------------|
| `train.images.u8` | uint8 [N, 1, S, S], paper = 255                                                |
| `train.labels.i64`| little-endian int64 [N]                                                        |
| `train.ink.u16`   | little-endian uint16 [N]: patches of 16 × 16 pixels that hold any ink          |
| `train.ids.jsonl` | one JSON string a line: the sample's id in its source                          |

Images that take more than `names.IMAGE_FILE_BYTES` go on in `train.images-00001.u8` and so on, whole images in each.

Columns rather than one JSON, so that 50 million drawings need no more memory than fifty. Everything is written by
appending, so that cutting the files back to recorded lengths undoes all that came after.
"""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128, xxh3_128_hexdigest

from fastsketch.formats.blocks import BLOCK, blocks
from fastsketch.formats.cache import SparseFile, fetch_behind
from fastsketch.formats.column import Column
from fastsketch.formats.fetched import FetchedImages
from fastsketch.formats.files import FileRecord
from fastsketch.formats.images import ImageFiles
from fastsketch.formats.metadata import DatasetMetadata, split_parts
from fastsketch.formats.names import COLUMNS, column_name, images_per_file, pack_names
from fastsketch.ink import PATCH
from fastsketch.urls import url_of


class PackWriter:
    """Appends samples to one split's files.

    Args:
        folder: The data set.
        split: Its name.
        size: Side of the images in pixels.
    """

    def __init__(self, folder: Path, split: str, size: int) -> None:
        self._split = split
        most = {"images": images_per_file(size) * size**2}
        self._columns = {
            column: Column(folder, partial(column_name, split, column), most.get(column, sys.maxsize))
            for column in COLUMNS
        }

    def append(
        self,
        images: npt.NDArray[np.uint8],
        labels: Sequence[int],
        ink: npt.NDArray[np.uint16],
        ids: Sequence[str],
    ) -> None:
        """Append n samples: images uint8 [n, S, S], their labels, ink-patch counts and ids."""
        self._columns["images"].write(np.ascontiguousarray(images).reshape(-1).data)
        self._columns["labels"].write(np.asarray(labels, dtype="<i8").tobytes())
        self._columns["ink"].write(ink.astype("<u2").tobytes())
        self._columns["ids"].write("".join(json.dumps(id, ensure_ascii=False) + "\n" for id in ids).encode())

    def sync(self) -> dict[str, int]:
        """Put everything appended so far on the disk; return each column's length in bytes."""
        for column in self._columns.values():
            column.sync()
        return {name: column.length for name, column in self._columns.items()}

    def rewind(self, lengths: dict[str, int]) -> None:
        """Go back to lengths that `sync` returned, in this process or an earlier one.

        Raises:
            DataError: A file is shorter than recorded.
        """
        for name, column in self._columns.items():
            column.rewind(lengths.get(name, 0))

    def finish(self) -> dict[str, FileRecord]:
        """Put everything on the disk and record the files with their checksums."""
        self.sync()
        names = pack_names(self._split, len(self._columns["images"].paths))
        paths = [path for column in self._columns.values() for path in column.paths]
        return {name: FileRecord.of(path) for name, path in zip(names, paths, strict=True)}

    def discard(self) -> None:
        """Delete the files: the split turned out to be empty."""
        for column in self._columns.values():
            for path in column.paths:
                path.unlink()

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for column in self._columns.values():
            column.close()


class PackSplit:
    """One split of a pack, memory-mapped: reading touches only what is asked for.

    Opening reads the small columns and compares them with their checksums: some 50 bytes a sample, milliseconds for
    20,000. The pixels are compared by whoever reads them all: `read`, or a `Verifier`. Of a split at a URL the small
    columns are fetched, and pixels as they are needed.

    Attributes:
        images: uint8 [N, 1, S, S], read-only: a memory-mapped array, or several files to be read as one.
        labels: int64 [N].
        ink: uint16 [N], patches with ink.

    Raises:
        ConfigError: The data set has no such split.
        DataError: A file is missing or of another length, a small column is not as it was written, or it cannot be
            that of these samples: a label is no class, an ink count is more than there are patches, an id is missing.
    """

    def __init__(self, folder: Path, metadata: DatasetMetadata, split: str) -> None:
        record = metadata.split(split)
        count, size = record.samples, metadata.size
        self._folder, self._files = folder, record.files
        self._image_files = record.image_files
        if url_of(folder) is None:
            for file in record.files.values():
                file.locate(folder)  # all of them, before anything is read
        mapped = [_mapped(folder, file, (file.bytes // size**2, 1, size, size)) for file in self._image_files]
        self._fetched = [images for images in mapped if isinstance(images, FetchedImages)]
        self._mapped = [images.array if isinstance(images, FetchedImages) else images for images in mapped]
        self.images = self._mapped[0] if len(mapped) == 1 and not self._fetched else ImageFiles(mapped)
        self.labels: npt.NDArray[np.int64] = self._column("labels", "<i8")
        self.ink: npt.NDArray[np.uint16] = self._column("ink", "<u2")
        for column, values, most in (
            ("labels", self.labels, len(metadata.classes) - 1),
            ("ink", self.ink, min((-(-size // PATCH)) ** 2, np.iinfo(np.uint16).max)),
        ):
            if len(values) != count or not 0 <= values.min() <= values.max() <= most:
                raise self._files[column].damage(folder, f"does not hold {count:,} values from 0 to {most:,}")
        self._check_ids(count)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_names(self) -> list[str]:
        """The files of the images, in order."""
        return [file.name for file in self._image_files]

    @property
    def parts(self) -> Sequence[PackSplit]:
        """Itself, as `JoinedSplit` has several."""
        return (self,)

    def fetch_behind(self) -> None:
        """Fetch the images in the background, where they are at a URL."""
        if self._fetched:
            fetch_behind([images.file for images in self._fetched])

    def _column(self, column: str, dtype: str) -> npt.NDArray[Any]:
        """Read one of the small columns, compared with its checksum."""
        file = self._files[column]
        values = np.fromfile(file.locate(self._folder), dtype)
        if xxh3_128_hexdigest(values.data) != file.xxh3:
            raise file.changed(self._folder)
        return values

    def _check_ids(self, count: int) -> None:
        """Compare the ids, which are not kept, with their checksum; there is a line for each sample."""
        file, digest, lines = self._files["ids"], xxh3_128(), 0
        for block in blocks(file.locate(self._folder)):
            digest.update(block)
            lines += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        if digest.hexdigest() != file.xxh3:
            raise file.changed(self._folder)
        if lines != count:
            raise file.damage(self._folder, f"has {lines:,} ids of {count:,} samples")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(1, S, S)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def take(
        self, indices: npt.NDArray[np.int64], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
    ) -> None:
        """Copy the n samples at `indices`, all within the split, into `images` [n, 1, S, S] and `labels` [n]."""
        # `clip`, because NumPy's other modes copy through a buffer.
        if isinstance(self.images, ImageFiles):
            self.images.take(indices, images)
        else:
            np.take(self.images, indices, axis=0, out=images, mode="clip")
        np.take(self.labels, indices, out=labels, mode="clip")

    def read(self, images: npt.NDArray[np.uint8], *, verify: bool = True) -> None:
        """Read the whole split in order into `images` [N, 1, S, S]: what lies there then is what was verified.

        Raises:
            DataError: The file's checksum differs.
        """
        rest = images.reshape(-1).data
        for file in self._image_files:
            own, rest = rest[: file.bytes], rest[file.bytes :]
            _read_file(file, self._folder, own, verify=verify)

    def release(self) -> None:
        """Forget the pages read so far: they stay in the system's cache, but count as this process's no longer."""
        for images in self._mapped:
            if hasattr(mmap, "MADV_DONTNEED") and isinstance(images.base, mmap.mmap):
                images.base.madvise(mmap.MADV_DONTNEED)

    def ids(self) -> list[str]:
        """The samples' ids in their source, in order.

        Raises:
            DataError: They are no ids any more.
        """
        file = self._files["ids"]
        try:
            with file.locate(self._folder).open(encoding="utf-8", newline="\n") as lines:
                ids = [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise file.changed(self._folder) from error
        if len(ids) != len(self) or not all(isinstance(each, str) for each in ids):
            raise file.damage(self._folder, f"does not hold the ids of {len(self):,} samples")
        return ids


class JoinedSplit:
    """Several splits one after the other, as one to read from; they stay where they are.

    Args:
        parts: The splits: the first one's samples come first, and so on.
    """

    def __init__(self, parts: Sequence[PackSplit]) -> None:
        self.parts = parts
        self.labels = np.concatenate([part.labels for part in parts])
        self._ends = np.cumsum([len(part) for part in parts])
        self.image_shape = parts[0].image_shape

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(
        self, indices: npt.NDArray[np.int64], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
    ) -> None:
        """As `PackSplit.take`; each image is copied twice, because NumPy gathers into whole arrays only."""
        owners = np.searchsorted(self._ends, indices, side="right")
        for number, (part, end) in enumerate(zip(self.parts, self._ends, strict=True)):
            rows = np.flatnonzero(owners == number)
            within = indices[rows] - (end - len(part))
            images[rows], labels[rows] = part.images[within], part.labels[within]


def _mapped(folder: Path, file: FileRecord, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | FetchedImages:
    """A file of images, memory-mapped; one at a URL that is not all here as one that is fetched."""
    if url_of(folder) and not (sparse := SparseFile.of(folder, file)).path.is_file():
        return FetchedImages(sparse, shape)
    return np.memmap(file.locate(folder), np.uint8, "r", shape=shape)


def _read_file(file: FileRecord, folder: Path, content: memoryview, *, verify: bool) -> None:
    """Read a whole file into `content`, and compare with its checksum what lies there then."""
    digest, rest = xxh3_128(), content
    with file.locate(folder).open("rb", buffering=0) as stream:
        while count := stream.readinto(rest[:BLOCK]):
            if verify:
                digest.update(rest[:count])  # still in the processor's cache
            rest = rest[count:]
    if len(rest) or (verify and digest.hexdigest() != file.xxh3):
        raise file.changed(folder)


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Places of at most so many of `count` samples, from the first to the last, as evenly as can be."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def open_split(folder: Path, metadata: DatasetMetadata, name: str) -> PackSplit | JoinedSplit:
    """Open a split, or several that are joined: `train+val`.

    Raises:
        ConfigError, DataError: As `PackSplit` does.
    """
    parts = [PackSplit(folder, metadata, part) for part in split_parts(name)]
    return parts[0] if len(parts) == 1 else JoinedSplit(parts)
