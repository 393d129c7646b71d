"""`dataset.json`: what a converted data set holds, and how it came to be.

Every byte of it counts: the file is read only if it is what we would write for what it says, and its `checksum`, a
SHA-256 over everything else in it, holds names, counts and order together. Who edits it by hand is told so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from fastsketch import atomic
from fastsketch.config.data import Invert
from fastsketch.errors import ConfigError, DataError, one_line
from fastsketch.formats.cache import fetched_metadata
from fastsketch.formats.files import FileRecord
from fastsketch.formats.names import COLUMNS, FORMATS, format_names, pack_names
from fastsketch.formats.parts import Name, PartRecord
from fastsketch.sources.sample import SPLITS
from fastsketch.urls import url_of, written

FILE_NAME = "dataset.json"

FORMAT_VERSION = 2
"""Raised whenever an older fastsketch could not read what a newer one writes."""

SEVERAL_FILES = 3
"""The version of those data sets alone that have a split whose images take several files."""

LARGEST = 1 << 26
"""Bytes of a `dataset.json`: room for half a million samples that were skipped, and for all in memory at once."""

SEAL = b',\n  "checksum":'
"""With this the last entry begins, the checksum of all others."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitRecord(_Model):
    """One split.

    Attributes:
        samples: Number of samples.
        pixel_mean: Mean gray value in [0, 1], paper = 1 (the `standard` normalisation needs it).
        pixel_std: Standard deviation of the same.
        files: The split's pack by content: `images` (then, if one file is not enough, `images-00001` and so on),
            `labels`, `ink`, `ids`. It is always there, except for splits that are joined: each has its own.
        formats: The same samples in other formats, `ffcv` or `dali`, each with its files.
    """

    samples: Annotated[int, Field(ge=1, lt=1 << 40)]
    pixel_mean: Annotated[float, Field(ge=0, le=1)]
    pixel_std: Annotated[float, Field(ge=0, le=1)]
    files: dict[str, FileRecord]
    formats: dict[str, list[FileRecord]] = {}

    @model_validator(mode="after")
    def _known_formats(self) -> SplitRecord:
        if list(self.formats) != [format for format in FORMATS if format in self.formats]:
            raise ValueError(f"formats are {' and '.join(FORMATS)}, in this order")
        return self

    @property
    def image_files(self) -> list[FileRecord]:
        """The files of the images, in order."""
        return [file for column, file in self.files.items() if column.startswith("images")]

    def images_per_file(self, size: int) -> int:
        """Images of `size` px in each of these files but the last."""
        return max(1, self.image_files[0].bytes // size**2)

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


Word = Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]


class SourceRecord(_Model):
    """Where the samples came from: the kind of source and, if fastsketch made the split, how."""

    kind: Word
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
        invert: Whether images were turned over, light to dark: `no`, `auto`, `yes`.
        clean_photo: Whether they were cleaned as photographs.
        looks_inverted: Images that look light on dark nevertheless.
        looks_gray: Images whose paper looks gray nevertheless.
        part: What this is one part of, if the conversion was divided.
    """

    format_version: int = FORMAT_VERSION
    fastsketch: str
    source: SourceRecord
    size: Annotated[int, Field(ge=8, le=4096)]
    resize: Word
    classes: Annotated[list[Name], Field(min_length=1)]
    splits: dict[str, SplitRecord]
    skipped: list[Skipped]
    invert: Invert = "no"
    clean_photo: bool = False
    looks_inverted: NonNegativeInt = 0
    looks_gray: NonNegativeInt = 0
    part: PartRecord | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DatasetMetadata:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes have the same name")
        if self.part and self.classes != self.part.part.of(self.part.classes):
            raise ValueError(f"the classes are not those of part {self.part.part}")
        sizes = {name: (split.samples, split.files["ids"].bytes) for name, split in self.splits.items() if self.part}
        if self.part and not self.part.adds_up(sizes, len(self.skipped)):
            raise ValueError("the classes of the part do not add up to its splits")
        if not self.splits or list(self.splits) != [split for split in SPLITS if split in self.splits]:
            raise ValueError(f"splits are some of {', '.join(SPLITS)}, in this order")
        for split, record in self.splits.items():
            names = {column: file.name for column, file in record.files.items()}
            if [*names.items()] != [*pack_names(split, len(record.image_files)).items()]:
                raise ValueError(f"the files of '{split}' are not those of a pack")
            per_file, *full = record.images_per_file(self.size), *record.image_files[:-1]
            widths = [(record.files["labels"], 8, record.samples), (record.files["ink"], 2, record.samples)]
            widths += [(file, self.size**2, per_file) for file in full]
            widths.append((record.image_files[-1], self.size**2, record.samples - per_file * len(full)))
            for file, width, count in widths:
                if count < 1 or file.bytes != width * count:
                    raise ValueError(f"{file.name} is not of {max(0, count):,} samples")
            for format, files in record.formats.items():
                if not files or [file.name for file in files] != format_names(split, format, len(files)):
                    raise ValueError(f"the {format} files of '{split}' are not those that are written for it")
        if self.format_version != format_version(self.splits):
            raise ValueError("its format version is not that of what it records")
        return self

    def save(self, folder: Path) -> None:
        """Write `folder/dataset.json`, atomically.

        Raises:
            DataError: It lists too many skipped samples ever to be read again.
        """
        text = self._text()
        if len(text.encode()) > LARGEST:
            raise DataError(
                f"{len(self.skipped):,} samples could not be read, too many to list them in {folder / FILE_NAME}",
                hint=f"look at the first: {one_line(self.skipped[0].id, 80)} ({one_line(self.skipped[0].reason, 80)})"
                if self.skipped
                else None,
            )
        atomic.write_text(folder / FILE_NAME, text)

    def _text(self) -> str:
        """The file: readable, with non-ASCII class names as they are, its checksum last."""
        content = self.model_dump(mode="json")
        for key in ("invert", "clean_photo", "looks_inverted", "looks_gray", "part"):
            if content[key] == type(self).model_fields[key].default:
                del content[key]  # what is as most have it need not be said
        return _json({**content, "checksum": _sha256(content)})

    @classmethod
    def load(cls, folder: Path) -> DatasetMetadata:
        """Read `folder/dataset.json`, at a URL, too.

        Raises:
            ConfigError: `folder` is not a converted data set, a run directory for one.
            DataError: A byte of the file is not as it was written, or another fastsketch wrote it; or the URL is
                refused.
            FastSketchError: It is at a URL, which cannot be read now, and never could.
        """
        path = folder / FILE_NAME
        if url_of(folder):
            return cls._read(fetched_metadata(folder, FILE_NAME, LARGEST + 1) / FILE_NAME, written(path))
        if not folder.exists():
            raise ConfigError(f"{folder}: no such folder")
        if not path.is_file():
            raise ConfigError(
                f"{folder} is not a converted data set (it has no {FILE_NAME})",
                hint=f"convert the raw images first: fastsketch convert {folder} DATASET",
            )
        if is_run(folder):
            raise ConfigError(
                f"{folder} is a run directory, not a data set", hint="name the data set that it was trained on"
            )
        return cls._read(path, str(path))

    @classmethod
    def of_run(cls, folder: Path) -> DatasetMetadata:
        """Read the copy in a run directory, of the data set that it was trained on.

        Raises:
            DataError: It is missing or damaged, or another fastsketch wrote it.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise DataError(f"{path} is missing", hint="copy it from the data set that it was trained on")
        return cls._read(path, str(path))

    @classmethod
    def _read(cls, file: Path, path: str) -> DatasetMetadata:
        """Read `file`, called `path` in whatever is said of it."""
        with file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise _damaged(path, f"it is larger than {LARGEST / 1e6:,.0f} MB")
        try:
            version = _Version.model_validate_json(content, strict=True).format_version
            if version not in (FORMAT_VERSION, SEVERAL_FILES):
                number = one_line(version, 40)
                raise DataError(
                    f"{path} has format version {number}, this fastsketch reads versions {FORMAT_VERSION} and "
                    f"{SEVERAL_FILES}",
                    hint="convert the data set again, or install the fastsketch that wrote it",
                )
            described, sealed, _ = content.rpartition(SEAL)
            metadata = cls.model_validate_json(described + b"\n}" if sealed else content, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            what = first["msg"].removeprefix("Value error, ")
            raise _damaged(path, f"{where}: {what}" if where else what) from error
        if metadata._text().encode() != content:
            raise _damaged(path, "its checksum differs")
        return metadata

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
        """SHA-256 of the samples of all splits, in whatever other formats they are: pixels, labels, names and size.

        `convert` is reproducible, so that the same images, classes and order have the same one on every machine.
        """
        splits = {
            split: {column: file.sha256 for column, file in sorted(record.files.items())}
            for split, record in sorted(self.splits.items())
        }
        return _sha256({"size": self.size, "classes": self.classes, "splits": splits})


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory, which has a copy of its data set's `dataset.json` and is none itself."""
    return (folder / "config.yaml").is_file() and (folder / "best").is_dir() and not holds_images(folder)


def holds_images(folder: Path) -> bool:
    """Whether there is a pack's file of images, of whichever split."""
    return any(folder.glob(f"*.{COLUMNS['images']}"))


def format_version(splits: Mapping[str, SplitRecord]) -> int:
    """The oldest version of the format that can say what is in these splits."""
    several = any(len(record.image_files) > 1 for record in splits.values())
    return SEVERAL_FILES if several else FORMAT_VERSION


class _Version(BaseModel):
    """What every version of the file says, whatever else it holds."""

    format_version: int


def _sha256(value: object) -> str:
    return hashlib.sha256(_json(value).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _damaged(path: str, what: str) -> DataError:
    return DataError(f"{path} is damaged ({one_line(what, 160)})", hint="convert the data set again")


def split_parts(name: str) -> list[str]:
    """`train+val` → `train`, `val`."""
    return name.split("+")
