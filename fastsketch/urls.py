"""Files and folders by URL, through fsspec: `s3://`, `gs://`, `hf://` and whatever else it knows or is taught.

A URL goes through all that is written for paths as the Path that pathlib makes of it, `s3:/bucket/sketches`: names are
joined to it and taken from it as with any other. What lists, reads or writes asks `url_of` first. Whose it is, and
where the servers are, is told by the environment, as each protocol's library has it; nothing of that is kept here.

What fails is tried again a few times, with a pause, unless it is not there or refused. Each library has errors of its
own: here they all end as one line.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from time import sleep
from typing import Any, BinaryIO, NamedTuple, TypeVar

from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError, one_line, reason_of
from fastsketch.optional import import_optional

log = logging.getLogger(__name__)

WAITS = (0.3, 1.0, 3.0)
"""Seconds before it is tried again; most libraries try a few times themselves."""

BLOCK = 1 << 23
"""Bytes that are asked for at once where a file is read from its beginning to its end: a request takes as long as some
megabytes."""

CREDENTIALS = "credentials are those of the environment: name or renew them as the protocol's library wants it"
AGAIN = "once that is mended, the same command continues"

_URL = re.compile("([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # a scheme of one letter is a disk of Windows

_LOCAL = ("file", "local")

_STAMPS = ("ETag", "etag", "md5", "checksum", "blob_id", "LastModified", "last_modified", "mtime", "updated", "created")
"""What the protocols call that by which a changed file is known, the surest first."""

Result = TypeVar("Result")

_clients: dict[tuple[int, str, str], Any] = {}
"""Process, scheme and host → the file system, of those that serve all threads with one client. fsspec itself makes one
for each thread, which takes s3fs a tenth of a second."""


class Gone(DataError):
    """There is nothing at a URL."""


class Entry(NamedTuple):
    """What a listing says of one file or folder; it is asked like an `os.DirEntry`.

    Attributes:
        name: Its last part.
        path: Where it is, as a path's text.
        folder: Whether it is a folder.
        bytes: Its length, if the protocol says it.
        stamp: Another text if the file is changed.
    """

    name: str
    path: str
    folder: bool
    bytes: int | None
    stamp: str

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.folder

    def is_file(self) -> bool:
        """Whether it is none."""
        return not self.folder


def url_of(path: str | PurePath) -> str | None:
    """The URL that a path or a text means; None for what lies on the disk."""
    match = _URL.fullmatch(path.as_posix() if isinstance(path, PurePath) else path)
    if match is None:
        return None
    return f"{match[1]}://{'/' if match[1] in _LOCAL else ''}{match[2]}"


def written(path: str | PurePath) -> str:
    """A path as people write it."""
    return url_of(path) or str(path)


def on_disk(path: Path) -> Path | None:
    """Where that lies on this machine's disk: `file://` does; None for what lies elsewhere."""
    if url_of(path) is None:
        return path
    scheme, _, rest = path.as_posix().partition(":")
    return Path(rest) if scheme in _LOCAL else None


def listed(folder: Path) -> list[Entry]:
    """What a folder holds, by name.

    Raises:
        Gone: There is no such folder.
        DataError: It may not be listed.
        FastSketchError: It cannot be, now.
    """
    found, own = _tried(folder, lambda files, path: (files.ls(path, detail=True), path.strip("/")))
    # A folder is made in an object store by an object that is called as the folder is.
    inside = (each for each in found if each["name"].strip("/") != own)
    return sorted(_entry(folder / each["name"].rstrip("/").rpartition("/")[2], each) for each in inside)


def look_up(path: Path) -> Entry | None:
    """What is there, None if nothing is.

    Raises:
        DataError: It may not be asked for.
        FastSketchError: It cannot be, now.
    """
    try:
        return _entry(path, _tried(path, lambda files, name: files.info(name)))
    except Gone:
        return None


def read(path: Path, start: int | None = None, stop: int | None = None) -> bytes:
    """A file's bytes, all or those from `start` up to `stop`, which lie within.

    Raises:
        Gone: There is no such file.
        DataError: It may not be read.
        FastSketchError: It cannot be, now.
    """

    def cut(files: Any, name: str) -> bytes:
        content: bytes = files.cat_file(name, start=start, end=stop)
        if start is not None and stop is not None and len(content) != stop - start:
            raise OSError(f"{len(content):,} bytes came of {stop - start:,}")
        return content

    return _tried(path, cut)


def open_url(path: Path) -> BinaryIO:
    """Open a file to be read from its beginning to its end, block by block: a block that fails is tried again.

    Raises:
        OSError: It is not there.
        DataError, FastSketchError: As `read`; later also, if the file is changed meanwhile.
    """
    found = look_up(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), written(path))
    if found.bytes is None:  # some web servers do not say it
        return io.BytesIO(read(path))
    return io.BufferedReader(_Blocks(path, found), BLOCK)


def upload(file: Path, path: Path) -> None:
    """Put a local file at a URL, whole.

    Raises:
        DataError: It may not be written there.
        FastSketchError: It cannot be, now.
        OSError: The local file cannot be read.
    """
    length = file.stat().st_size

    def put(files: Any, name: str) -> None:
        if on_disk(path):  # object stores have no folders, and s3fs would make a bucket
            files.makedirs(os.path.dirname(name), exist_ok=True)
        files.put_file(str(file), name)
        if (there := files.info(name)["size"]) != length:
            raise OSError(f"{there:,} bytes arrived of {length:,}")

    _tried(path, put)


def remove(path: Path) -> None:
    """Delete a file at a URL, if it is there.

    Raises:
        DataError: It may not be deleted.
        FastSketchError: It cannot be, now.
    """
    with suppress(Gone):
        _tried(path, lambda files, name: files.rm_file(name))


class _Blocks(io.RawIOBase):
    """A file by ranges of bytes, that is known to be the same from the first to the last."""

    def __init__(self, path: Path, found: Entry) -> None:
        self._path, self._found, self._position = path, found, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        total = self._found.bytes or 0
        start, stop = self._position, min(total, self._position + len(buffer))
        if start == stop:
            now = look_up(self._path)
            if now is None or now.stamp != self._found.stamp:
                raise DataError(f"{written(self._path)} was changed while it was read", hint="the same command again")
            return 0
        buffer[: stop - start] = read(self._path, start, stop)
        self._position = stop
        return stop - start


def _entry(path: Path, found: Mapping[str, Any]) -> Entry:
    stamp = next((str(found[key]) for key in _STAMPS if found.get(key)), "")
    return Entry(path.name, str(path), found["type"] == "directory", found.get("size"), f"{found.get('size')} {stamp}")


def _tried(path: Path, act: Callable[[Any, str], Result]) -> Result:
    """What comes of `act` with the file system and its own name for a path, tried again if need be."""
    url = written(path)
    for wait in (*WAITS, None):
        try:
            return act(*_file_system(url))
        except FastSketchError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:  # the latter is a local path's, below a file
            raise Gone(f"{url}: not there") from error
        except PermissionError as error:
            raise DataError(f"{url}: refused ({reason_of(error)})", hint=CREDENTIALS) from error
        except Exception as error:  # botocore's, aiohttp's, google.auth's, ...: fsspec translates but some
            if wait is None:
                raise FastSketchError(f"{url}: {reason_of(error)}", hint=f"{AGAIN}; {CREDENTIALS}") from error
            log.debug("%s: %s; trying again in %.1f s", url, reason_of(error), wait)
            sleep(wait)
    raise AssertionError("the last try returns or raises")


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and its name for what is there.

    Listings are never kept: they grow with the data, and what is changed meanwhile has to be seen.
    """
    scheme, host = url.split("/", 3)[::2]
    if (kept := _clients.get((os.getpid(), scheme, host))) is not None:
        return kept, kept._strip_protocol(url)
    core, scheme = import_optional("fsspec.core", "fsspec", "urls"), scheme.rstrip(":")
    try:
        files, path = core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        if scheme in ("s3", "s3a"):
            raise BackendMissing.of("s3fs", error, "s3") from error
        known = import_optional("fsspec.registry", "fsspec", "urls").known_implementations
        library = known.get(scheme, {}).get("class", scheme).partition(".")[0]
        raise BackendMissing(f"{library} cannot be imported ({error})", hint=f"pip install {library}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {one_line(error, 200)}", hint="fsspec knows s3://, gs://, hf:// and more") from error
    if files.async_impl:
        _clients[os.getpid(), f"{scheme}:", host] = files
    return files, path
