"""Files and folders of the user's, opened so that nothing hangs and nothing loops; here or by URL."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from fastsketch import urls
from fastsketch.errors import DataError
from fastsketch.sources.sample import ImageSample, printable
from fastsketch.urls import url_of, written

Entry: TypeAlias = "os.DirEntry[str] | urls.Entry"
"""What a folder holds."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFile(OSError):
    """What is there is no regular file; `strerror` says what it is."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading. Nothing else is ever opened: a pipe would wait for ever.

    Raises:
        OSError: It is not there or cannot be read, or it is a `NotAFile`.
        FastSketchError: It is at a URL, and refused, or cannot be read now.
    """
    if url_of(path):
        if is_folder(path):
            raise NotAFile(0, "not a file, but a folder", written(path))
        return urls.open_url(path)
    _check(path, os.stat(path))
    # Should it become a pipe right now, opening it does not wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise NotAFile(0, f"not a file, but {_KINDS.get(kind, 'something else')}", str(path))


def state_of(samples: Iterable[ImageSample]) -> str:
    """A digest of the samples' ids and of size and time of change of their files, in whatever order they come."""
    return digest_of((sample.id, sample.path) for sample in samples)


def digest_of(files: Iterable[tuple[str, Path | Entry]]) -> str:
    """The same of ids and files, of which a listing has told the state of those at a URL."""
    lines = sorted(f"{id} {_stamp(file)}" for id, file in files)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _stamp(file: Path | Entry) -> str:
    if isinstance(file, Path) and url_of(file):
        return found.stamp if (found := urls.look_up(file)) else "-"
    if isinstance(file, urls.Entry):
        return file.stamp
    try:
        status = os.stat(file)
    except OSError:  # told when it is tried to be read
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def entries(folder: Path) -> list[Entry]:
    """What a folder holds, by name, without what is hidden, as by macOS in the archives that it makes.

    Raises:
        DataError: It cannot be read.
        FastSketchError: It is at a URL, which cannot be read now.
    """
    try:
        return sorted(filter(_shown, _listed(folder)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(str(folder))}: cannot be read ({error.strerror})") from error


def _listed(folder: Path) -> list[Entry]:
    if url_of(folder):
        return [*urls.listed(folder)]
    with os.scandir(folder) as found:
        return [*found]


def _shown(entry: Entry) -> bool:
    return not entry.name.startswith(".") and entry.name != "__MACOSX"


def is_folder(entry: Path | Entry) -> bool:
    """Whether that is a folder or a link to one; a link that leads in circles is none."""
    if isinstance(entry, Path) and url_of(entry):
        found = urls.look_up(entry)
        return found is not None and found.folder
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: Path | Entry) -> bool:
    """Whether that is a regular file or a link to one; a link that leads in circles is none."""
    if isinstance(entry, Path) and url_of(entry):
        found = urls.look_up(entry)
        return found is not None and not found.folder
    try:
        return entry.is_file()
    except OSError:
        return False


def identity(folder: Path) -> Hashable:
    """What a folder is known by, whatever link leads to it: its device and number, or its URL."""
    if url := url_of(folder):
        return url
    status = folder.stat()
    return status.st_dev, status.st_ino


def walk(folder: Path, seen: set[Hashable]) -> Iterator[Entry]:
    """All that is no folder below `folder`, through links to folders too, but through each folder once.

    What a folder holds comes by name, and before what its folders hold.

    Args:
        folder: Where to begin.
        seen: The identities of the folders that were gone through already; those of this walk are added.

    Raises:
        DataError: A folder cannot be read.
    """
    waiting = [str(folder)]
    while waiting:
        path = Path(waiting.pop())
        found = entries(path)
        if (known_by := identity(path)) in seen:
            continue
        seen.add(known_by)
        folders = []
        for entry in found:
            if is_folder(entry):
                folders.append(entry.path)
            else:
                yield entry
        waiting += reversed(folders)
