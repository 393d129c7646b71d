"""The `dali` format: WebDataset tars of raw samples, each with DALI's index file beside it.

| member            | content                                                        |
|-------------------|----------------------------------------------------------------|
| `<key>.image.u8`  | uint8 [1, S, S], paper = 255                                   |
| `<key>.target.i64`| little-endian int64 [2]: label, and the sample's place in the pack |

The pack is sorted by class, and a reader that shuffles through a buffer would yield batches of a few classes each. In
the tars, therefore, neighbours lie about 0.62 of the split apart: any stretch of them holds all classes evenly.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastsketch.formats.files import FileRecord
from fastsketch.formats.names import format_names
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.pieces import Piece, holds_pieces

IMAGE, TARGET = "image.u8", "target.i64"

SHARD_BYTES = 1 << 29
"""A tar is about so large, at most."""

BLOCK = 256
"""Samples in memory at a time."""

_BLANKS = 20 * 512
"""Tar files end in two empty blocks and are a multiple of so many bytes long."""


def tar_files(
    folder: Path, name: str, split: PackSplit, shard_bytes: int = SHARD_BYTES
) -> Iterator[tuple[Path, Iterator[Piece]]]:
    """The files of a split, `folder/<name>-00000.tar` and `.idx` and so on, each with its content piece by piece."""
    template = _Template(split.images.shape[-1])
    shards = _shards(len(split), template, shard_bytes)
    names = format_names(name, "dali", 2 * len(shards))
    for (start, shard), tar, index in zip(shards, names[::2], names[1::2], strict=True):
        yield folder / tar, _tar(split, shard, start, template)
        yield folder / index, _index(len(shard), start, template)


def checked_tars(folder: Path, name: str, files: Sequence[FileRecord], split: PackSplit) -> list[Path]:
    """The recorded tars of a split, once their indices are known to be what is written for it: DALI believes them.

    Raises:
        DataError: An index is not, or a file is missing or of another length.
    """
    paths = [file.locate(folder) for file in files]
    template = _Template(split.images.shape[-1])
    shards = _shards(len(split), template, SHARD_BYTES)
    if len(files) != 2 * len(shards):
        raise files[-1].damage(folder, f"is not the last of the {2 * len(shards)} files that '{name}' has")
    for (start, shard), tar, index in zip(shards, files[::2], files[1::2], strict=True):
        if tar.bytes != _length(len(shard), template):
            raise tar.damage(folder, f"is not of {len(shard):,} samples")
        if not holds_pieces(index.locate(folder), _index(len(shard), start, template)):
            raise index.changed(folder)
    return paths[::2]


def _shards(count: int, template: _Template, shard_bytes: int) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Which samples lie in which tar: the key of each tar's first one, and their places in the pack."""
    per_shard = max(1, (shard_bytes - _BLANKS) // template.stride)
    order = spread(count)
    return [(start, order[start : start + per_shard]) for start in range(0, count, per_shard)]


def _length(samples: int, template: _Template) -> int:
    """Bytes of a tar."""
    return -(-(samples * template.stride + 1024) // _BLANKS) * _BLANKS


def spread(count: int) -> npt.NDArray[np.int64]:
    """A fixed permutation of `count` positions in which neighbours lie a golden section apart."""
    step = round(count * (math.sqrt(5) - 1) / 2) or 1
    while math.gcd(step, count) > 1:
        step += 1
    return np.arange(count, dtype=np.int64) * step % count


class _Template:
    """The bytes of one sample in a tar, in which only the key, the pixels and the target are left to fill in.

    Attributes:
        bytes: uint8 [stride].
        headers: Where its two headers begin.
        image: Where its pixels lie.
        target: Where its label and index lie.
    """

    def __init__(self, size: int) -> None:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for member, length in ((IMAGE, size * size), (TARGET, 16)):
                info = tarfile.TarInfo(f"{0:012d}.{member}")
                info.size = length  # dates, owners and modes are tarfile's defaults: no two runs differ
                tar.addfile(info, io.BytesIO(bytes(length)))
            self.stride = tar.offset
        self.bytes = np.frombuffer(stream.getvalue()[: self.stride], np.uint8)
        self.headers = (0, self.stride - 1024)
        self.image = slice(512, 512 + size * size)
        self.target = slice(self.stride - 512, self.stride - 496)

    def fill(
        self, keys: npt.NDArray[np.int64], images: npt.NDArray[np.uint8], targets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """n keys, images uint8 [n, 1, S, S] and targets int64 [n, 2] → uint8 [n, stride]."""
        samples = np.tile(self.bytes, (len(keys), 1))
        samples[:, self.image] = images.reshape(len(keys), -1)
        samples[:, self.target] = np.ascontiguousarray(targets, "<i8").view(np.uint8)
        for header in self.headers:
            samples[:, header : header + 12] = _digits(keys, 10, 12)
            # The checksum adds up the header's bytes, its own eight counted as spaces, in six octal digits.
            checksum = slice(header + 148, header + 154)
            samples[:, header + 148 : header + 156] = ord(" ")
            sums = samples[:, header : header + 512].sum(axis=1, dtype=np.int64)
            samples[:, checksum] = _digits(sums, 8, 6)
            samples[:, header + 154] = 0
        return samples


def _digits(numbers: npt.NDArray[np.int64], base: int, width: int) -> npt.NDArray[np.uint8]:
    """Numbers [n] as ASCII digits uint8 [n, width], with leading zeros."""
    powers = base ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (numbers[:, None] // powers % base + ord("0")).astype(np.uint8)


def _tar(split: PackSplit, order: npt.NDArray[np.int64], first_key: int, template: _Template) -> Iterator[Piece]:
    written = 0
    for start in range(0, len(order), BLOCK):
        indices = order[start : start + BLOCK]
        keys = first_key + start + np.arange(len(indices))
        targets = np.stack([split.labels[indices], indices], axis=1)
        samples = template.fill(keys, split.images[indices], targets)
        written += samples.nbytes
        yield samples.data
        split.release()
    yield bytes(_length(len(order), template) - written)


def _index(samples: int, first_key: int, template: _Template) -> Iterator[Piece]:
    """What DALI's `wds2idx` would write: each member's extension, offset, length and name, a line a sample."""
    image_bytes = template.image.stop - template.image.start
    yield f"v1.2 {samples}\n".encode("ascii")
    for start in range(0, samples, BLOCK):
        lines = []
        for row in range(start, min(start + BLOCK, samples)):
            key, offset = f"{first_key + row:012d}", row * template.stride
            image, target = offset + template.image.start, offset + template.target.start
            lines.append(f"{IMAGE} {image} {image_bytes} {key}.{IMAGE} {TARGET} {target} 16 {key}.{TARGET}\n")
        yield "".join(lines).encode("ascii")
