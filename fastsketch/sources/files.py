"""Files and folders of the user's, opened so that nothing hangs and nothing loops."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from fastsketch.errors import DataError
from fastsketch.sources.sample import ImageSample, printable

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
    """
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
    lines = sorted(f"{sample.id} {_stamp(sample.path)}" for sample in samples)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _stamp(path: Path) -> str:
    try:
        status = os.stat(path)
    except OSError:  # told when it is tried to be read
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name, without what is hidden, as by macOS in the archives that it makes.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            shown = (entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX")
            return sorted(shown, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(str(folder))}: cannot be read ({error.strerror})") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether that is a folder or a link to one; a link that leads in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """All that is no folder below `folder`, through links to folders too, but through each folder once.

    What a folder holds comes by name, and before what its folders hold.

    Args:
        folder: Where to begin.
        seen: Device and number of the folders that were gone through already; those of this walk are added.

    Raises:
        DataError: A folder cannot be read.
    """
    waiting = [str(folder)]
    while waiting:
        path = Path(waiting.pop())
        found = entries(path)
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = []
        for entry in found:
            if is_folder(entry):
                folders.append(entry.path)
            else:
                yield entry
        waiting += reversed(folders)
