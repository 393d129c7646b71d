"""`dataset.json`: what a converted data set holds, and how it came to be."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastsketch import atomic
from fastsketch.errors import ConfigError, DataError

FILE_NAME = "dataset.json"

FORMAT_VERSION = 1
"""Raised whenever an older fastsketch could not read what a newer one writes."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Model):
    """One data file: its name inside the data set, its length in bytes and its SHA-256."""

    name: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Read the file once and record it."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return cls(name=path.name, bytes=path.stat().st_size, sha256=digest.hexdigest())

    def locate(self, folder: Path) -> Path:
        """The file's path, if it is there in its full length; its contents are `verify`'s business.

        Raises:
            DataError: It is missing, truncated or too long.
        """
        path = folder / self.name
        actual = path.stat().st_size if path.is_file() else None
        if actual != self.bytes:
            state = "is missing" if actual is None else f"has {actual:,} bytes instead of {self.bytes:,}"
            raise DataError(f"{path} {state}", hint="convert the data set again")
        return path

    def verify(self, folder: Path) -> None:
        """Read the whole file and compare its checksum.

        Raises:
            DataError: It is not, byte for byte, the file that was recorded.
        """
        path = self.locate(folder)
        if FileRecord.of(path) != self:
            raise DataError(f"{path} is not as it was written: its checksum differs", hint="convert the data set again")


class SplitRecord(_Model):
    """One split.

    Attributes:
        samples: Number of samples.
        pixel_mean: Mean gray value in [0, 1], paper = 1 (the `standard` normalisation needs it).
        pixel_std: Standard deviation of the same.
        files: The split's pack by content: `images`, `labels`, `ink`, `ids`. It is always there, except for splits
            that are joined: each has its own.
        formats: The same samples in other formats, `ffcv` or `dali`, each with its files.
    """

    samples: int
    pixel_mean: float
    pixel_std: float
    files: dict[str, FileRecord]
    formats: dict[str, list[FileRecord]] = {}

    def all_files(self) -> list[FileRecord]:
        """The files of all formats."""
        return [*self.files.values(), *(record for records in self.formats.values() for record in records)]

    @classmethod
    def joined(cls, parts: Sequence[SplitRecord]) -> SplitRecord:
        """Splits one after the other as one, with the mean and the standard deviation of all their pixels."""
        samples = sum(part.samples for part in parts)
        mean = sum(part.samples * part.pixel_mean for part in parts) / samples
        square = sum(part.samples * (part.pixel_std**2 + part.pixel_mean**2) for part in parts) / samples
        return cls(samples=samples, pixel_mean=mean, pixel_std=math.sqrt(max(square - mean**2, 0)), files={})


class SourceRecord(_Model):
    """Where the samples came from: the kind of source and, if fastsketch made the split, how."""

    kind: str
    split: str | None
    seed: int | None


class Skipped(_Model):
    """A sample that could not be decoded."""

    id: str
    reason: str


class DatasetMetadata(_Model):
    """The whole of `dataset.json`. It holds no dates and no absolute paths: the same data give the same bytes.

    Attributes:
        size: Side of the square images in pixels.
        resize: Name of the resampling filter.
        classes: Class names in label order, never to be recomputed from folders.
        splits: The splits that have samples, in the order train, val, test.
        skipped: Samples that could not be decoded.
    """

    format_version: int = FORMAT_VERSION
    fastsketch: str
    source: SourceRecord
    size: int
    resize: str
    classes: list[str]
    splits: dict[str, SplitRecord]
    skipped: list[Skipped]

    def save(self, folder: Path) -> None:
        """Write `folder/dataset.json`, atomically."""
        atomic.write_json(folder / FILE_NAME, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> DatasetMetadata:
        """Read `folder/dataset.json`.

        Raises:
            ConfigError: `folder` is not a converted data set.
            DataError: The file is damaged, or written by a newer fastsketch.
        """
        path = folder / FILE_NAME
        if not folder.exists():
            raise ConfigError(f"{folder}: no such folder")
        if not path.is_file():
            raise ConfigError(
                f"{folder} is not a converted data set (it has no {FILE_NAME})",
                hint=f"convert the raw images first: fastsketch convert {folder} DATASET",
            )
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = record["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error})", hint="convert the data set again") from error
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path} has format version {version}, this fastsketch reads version {FORMAT_VERSION}",
                hint="convert the data set again, or install the fastsketch that wrote it",
            )
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{path} is damaged ({where}: {first['msg']})", hint="convert it again") from error

    def split(self, name: str) -> SplitRecord:
        """The record of a split, or of several that are joined: `train+val`.

        Raises:
            ConfigError: The data set has no such split; the hint names those it has.
        """
        parts = split_parts(name)
        for part in parts:
            if part not in self.splits:
                raise ConfigError(f"the data set has no '{part}' split", hint=f"it has: {', '.join(self.splits)}")
        return self.splits[name] if len(parts) == 1 else SplitRecord.joined([self.splits[part] for part in parts])

    def checksum(self) -> str:
        """SHA-256 of the samples of all splits: over the checksums of their packs, in whatever other formats they are.

        `convert` is reproducible, so that the same images, labels and order have the same one on every machine.
        """
        digest = hashlib.sha256()
        for split, record in sorted(self.splits.items()):
            for column, file in sorted(record.files.items()):
                digest.update(f"{split} {column} {file.sha256}\n".encode())
        return digest.hexdigest()


def split_parts(name: str) -> list[str]:
    """`train+val` → `train`, `val`."""
    return name.split("+")
