"""What a model is to be asked about, as a stream of samples: files, folders, patterns, lists, tars, strokes, data sets.

Nothing is listed as a whole, so that memory does not grow with the number of inputs; and what goes wrong on the way
(a folder that may not be read, an archive that is cut off) is a sample, too, that says so when it is read.
"""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastsketch.conversion.decode import DecodeError, Reading, Seen, decode_seen
from fastsketch.conversion.gray import LARGEST_FILE
from fastsketch.conversion.paper import Look
from fastsketch.errors import ConfigError, DataError, one_line
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata, is_run, split_parts
from fastsketch.formats.pack import PackSplit
from fastsketch.sources.files import is_file, open_regular, walk
from fastsketch.sources.folder import is_image_name
from fastsketch.sources.quickdraw import SUFFIXES as STROKE_SUFFIXES
from fastsketch.sources.quickdraw import drawings
from fastsketch.sources.sample import ContentSample, ImageSample, Sample, printable
from fastsketch.urls import url_of

LIST = "-"
"""The argument for a list of paths, one a line, on the standard input."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class StoredSample:
    """An image of a converted data set, uint8 [S, S]."""

    id: str
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class UnreadSample:
    """What could not even be opened, and why."""

    id: str
    reason: str


Input: TypeAlias = Sample | StoredSample | UnreadSample


def check_inputs(arguments: Sequence[str], readings: Sequence[Reading], split: str | None) -> None:
    """Look for what was named before anything is done with any of it.

    Args:
        arguments: Paths, patterns, or `-`.
        readings: How the models' images are read, which stored ones cannot be any more.
        split: Of the data sets.

    Raises:
        ConfigError: It is not there, or a data set is of another size or has no such split.
        DataError: A data set is damaged.
    """
    if not arguments:
        raise ConfigError("nothing to look at", hint="name files, folders, a pattern, or - for a list of paths")
    for argument in arguments:
        if argument == LIST:
            continue
        if url_of(argument):
            if not _is_dataset(argument):
                raise ConfigError(
                    f"{one_line(argument, 400)} is no converted data set, and nothing else is asked for by URL",
                    hint="convert it first, or fetch the files",
                )
        elif not os.path.lexists(argument) and not _matches(argument):
            raise ConfigError(f"{one_line(argument, 400)}: no such file or folder")
        if _is_dataset(argument):
            dataset = DatasetMetadata.load(Path(argument))
            if split is not None:
                dataset.split(split)
            for reading in readings:
                if reading.size != dataset.size:
                    raise ConfigError(
                        f"{argument} has {dataset.size} px, and a model was trained on {reading.size} px",
                        hint=f"convert its images with --size {reading.size}, or name the images themselves",
                    )
        elif split is not None:
            raise ConfigError(f"{one_line(argument, 400)} is no converted data set, and has no '{split}' split")


def find_inputs(arguments: Iterable[str], lines: Iterable[str], split: str | None = None) -> Iterator[Input]:
    """All samples, in the order of the arguments; a folder's by name, and what lies deeper last.

    Args:
        arguments: What `check_inputs` has seen.
        lines: Paths, one a line, for `-`.
        split: Of converted data sets; all of their splits otherwise.
    """
    for argument in arguments:
        if argument == LIST:
            for line in lines:
                if path := line.rstrip("\r\n"):
                    yield from _of_path(path, split)
        elif url_of(argument) or os.path.lexists(argument):
            yield from _of_path(argument, split)
        else:
            for path in sorted(_matches(argument)):
                yield from _of_path(path, split)


def count_inputs(arguments: Sequence[str], split: str | None = None) -> int | None:
    """How many samples `find_inputs` will find, by looking at names alone; None where that would not do.

    Args:
        arguments: What `check_inputs` has seen.
        split: Likewise.
    """
    count = 0
    for argument in arguments:
        paths = [argument] if url_of(argument) or os.path.lexists(argument) else _matches(argument)
        if argument == LIST or any(path.endswith((*TAR_SUFFIXES, *STROKE_SUFFIXES)) for path in paths):
            return None
        for path in paths:
            if _is_dataset(path):
                count += _count_stored(Path(path), split)
            else:
                count += sum(1 for _ in _inside(path)) if os.path.isdir(path) else 1
    return count


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else []


def _is_dataset(path: str) -> bool:
    return is_file(Path(path, FILE_NAME)) if url_of(path) else os.path.isfile(os.path.join(path, FILE_NAME))


def _of_path(path: str, split: str | None) -> Iterator[Input]:
    name = printable(path)
    try:
        if _is_dataset(path):
            yield from _stored(path, split)
        elif os.path.isdir(path):
            yield from _inside(path)
        elif path.endswith(TAR_SUFFIXES):
            yield from _members(path)
        elif path.endswith(STROKE_SUFFIXES):
            yield from drawings(Path(path), name)
        else:
            yield ImageSample(name, Path(path))
    except (DataError, ConfigError) as error:  # ConfigError: a run directory
        yield UnreadSample(name, one_line(error.message.removeprefix(f"{name}: "), 200))
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield UnreadSample(name, one_line(reason, 200))


def _inside(folder: str) -> Iterator[Input]:
    for entry in walk(Path(folder), set()):
        if is_image_name(entry.name):
            yield ImageSample(printable(entry.path), Path(entry.path))


def _members(path: str) -> Iterator[Input]:
    """The images of an archive, one after the other: it is read once, from its beginning to its end."""
    with open_regular(Path(path)) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if not member.isreg() or not is_image_name(member.name):
                continue
            name = printable(f"{path}/{member.name}")
            if member.size > LARGEST_FILE:
                yield UnreadSample(name, f"too large: {member.size / 1e6:,.0f} MB")
            elif content := archive.extractfile(member):
                yield ContentSample(name, content.read())


def _count_stored(folder: Path, split: str | None) -> int:
    if is_run(folder):
        return 1  # that cannot be read
    dataset = DatasetMetadata.load(folder)
    return sum(dataset.split(part).samples for part in (split_parts(split) if split else dataset.splits))


def _stored(folder: str, split: str | None) -> Iterator[Input]:
    dataset = DatasetMetadata.load(Path(folder))
    for part in split_parts(split) if split else dataset.splits:
        samples = PackSplit(Path(folder), dataset, part)
        for id, image in zip(samples.ids(), samples.images, strict=True):
            yield StoredSample(id, image[0])


# ------------------------------------------------------------------------------------------------------ reading


def read_input(sample: Input, reading: Reading) -> Seen:
    """Read a sample as `convert` would: uint8 [size, size], paper = 255, and what it looked like.

    Raises:
        DecodeError: It cannot be read.
    """
    match sample:
        case UnreadSample():
            raise DecodeError(sample.reason)
        case StoredSample():
            return sample.image, Look()
        case _:
            return decode_seen(sample, reading)
