"""A data set at a URL, kept on this machine's disk as far as it has been needed.

    <cache>/NAME-KEY/CHECKSUM/dataset.json      KEY is the URL's, CHECKSUM that of this dataset.json
    <cache>/NAME-KEY/CHECKSUM/train.images.u8   a file that is here: as a whole, and as its checksum says
    …/train.images.u8.partial                   one on its way, in its full length, with holes
    …/train.images.u8.blocks                    a byte for each of its blocks: 1 if the block is here
    …/train.images.u8.lock                      held by the process that fetches all of it

A block is on the disk before it is marked, so that whatever is marked is right, after a kill and after a power failure.
Several processes may fill the same file: what they write is the same. Only one fetches what nobody asks for, compares
the checksum and gives the file its name; the file under the others' mappings stays what it is.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import platformdirs
from xxhash import xxh3_64_hexdigest, xxh3_128, xxh3_128_hexdigest

from fastsketch import atomic
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats.blocks import blocks
from fastsketch.formats.fetch_threads import threads
from fastsketch.locks import held
from fastsketch.urls import Gone, look_up, read, written

log = logging.getLogger(__name__)

FOLDER = "FASTSKETCH_CACHE"
"""The environment variable that names the cache folder."""

BLOCK = 1 << 20
"""Bytes that are fetched at least: 20 images of 224 px, of which a shuffled batch wants one."""

RUN = 8
"""Blocks that are fetched by one request where all of a file is."""

AT_ONCE = 32
"""Requests under way for what somebody waits for."""

BEHIND = 8
"""Requests under way for all the rest, each of so many blocks that it takes the network's whole speed."""

PATIENCE = 0.2
"""Seconds between two looks whether another process has fetched a file."""

FULL = f"free some space, or name a folder on another disk with {FOLDER}"


class Recorded(Protocol):
    """What is known of a file before it is fetched."""

    @property
    def name(self) -> str:
        """Inside the data set."""

    @property
    def bytes(self) -> int:
        """Its length."""

    @property
    def xxh3(self) -> str:
        """Its XXH3-128, 32 hex digits."""


_places: dict[Path, Path] = {}
"""URL → the folder of the data set that was opened there last."""

_sparse: dict[Path, SparseFile] = {}
_opening = threading.Lock()


def fetched_metadata(url: Path, name: str, most: int) -> Path:
    """Fetch a data set's `name` (`dataset.json`) and begin, or go on with, a folder for what belongs to it.

    Where the network is gone, what was fetched last will do.

    Args:
        url: The data set.
        name: Of the file.
        most: Bytes of it that are of interest.

    Raises:
        ConfigError: There is no such file.
        DataError: The URL is refused.
        FastSketchError: The network or the disk fails.
    """
    root = Path(os.environ.get(FOLDER) or platformdirs.user_cache_path("fastsketch") / "data")
    key = xxh3_64_hexdigest(written(url).encode(errors="surrogateescape"))
    known = root / f"{re.sub('[^A-Za-z0-9_-]+', '_', url.name)[:40]}-{key}"
    try:
        found = look_up(url / name)
        if found is None:
            raise ConfigError(f"{written(url)} is not a converted data set (it has no {name})")
        content = read(url / name, 0, min(found.bytes, most)) if found.bytes else read(url / name)
    except (ConfigError, DataError):
        raise
    except FastSketchError as error:
        earlier = max(known.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime, default=None)
        if earlier is None:
            raise
        log.warning("%s; going on with what was fetched before", error.message)
        _places[url] = earlier.parent
        return earlier.parent
    folder = known / xxh3_128_hexdigest(content)[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_file() or (folder / name).read_bytes() != content:
            atomic.write_bytes(folder / name, content)
        os.utime(folder / name)
    except OSError as error:
        raise _disk(folder, error) from error
    _places[url] = folder
    return folder


def place(url: Path) -> Path:
    """The folder of a data set that was opened."""
    return _places[url]


def whole(url: Path, file: Recorded, stop: threading.Event | None = None) -> Path | None:
    """A file of a data set at a URL, fetched as a whole and compared with its checksum.

    Args:
        url: The data set, which has been opened.
        file: One of its files.
        stop: Set by whoever does not want it any more; then there may be none.

    Raises:
        DataError: It is not there, refused, or not as it was written.
        FastSketchError: The network or the disk fails.
    """
    return SparseFile.of(url, file).whole(stop)


class SparseFile:
    """A file that is fetched block by block; one in a process, whoever asks for it.

    Args:
        url: The data set.
        path: What the file is to be called.
        file: Its record.
    """

    @classmethod
    def of(cls, url: Path, file: Recorded) -> SparseFile:
        """The file, begun if it was not.

        Raises:
            FastSketchError: The disk fails.
        """
        path = place(url) / file.name
        with _opening:
            if path not in _sparse or _sparse[path].vanished:
                _sparse[path] = cls(url, path, file)
            return _sparse[path]

    def __init__(self, url: Path, path: Path, file: Recorded) -> None:
        self._url, self._file, self.path = url, file, path
        self.partial, self._blocks = (path.with_name(path.name + end) for end in (".partial", ".blocks"))
        self._lock = path.with_name(path.name + ".lock")
        self._count = -(-file.bytes // BLOCK)
        self._changing = threading.Lock()
        self._under_way: dict[int, Future[None]] = {}
        self._fetched = np.zeros(self._count, np.bool_)  # by this process, though maybe not marked yet
        self._damage: DataError | None = None
        try:
            with held(path.parent, wait=True):  # so that nobody begins it anew under another's feet
                self._open()
        except OSError as error:
            raise _disk(path, error) from error

    def _open(self) -> None:
        if self.path.is_file():
            self._blocks.unlink(missing_ok=True)  # left by who ended just after the file had got its name
            self._here = np.ones(self._count, np.uint8)
            self._data = self._record = -1
            return
        if not (
            self.partial.is_file()
            and self._blocks.is_file()
            and (self.partial.stat().st_size, self._blocks.stat().st_size) == (self._file.bytes, self._count)
        ):
            self._blocks.unlink(missing_ok=True)  # first: without it, nothing is believed
            self.partial.unlink(missing_ok=True)
            with self.partial.open("wb") as data:
                data.truncate(self._file.bytes)
            atomic.write_bytes(self._blocks, bytes(self._count))
        self._data, self._record = os.open(self.partial, os.O_RDWR), os.open(self._blocks, os.O_RDWR)
        self._here = np.memmap(self._blocks, np.uint8, "r") if self._count else np.ones(0, np.uint8)

    @property
    def vanished(self) -> bool:
        """Whether somebody has deleted it."""
        return not self.path.exists() and not (self.partial.exists() and self._blocks.exists())

    def mapped(self, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
        """All of it, whatever its name is by now; what is not here reads as zeros."""
        with self.path.open("rb") if self._data < 0 else os.fdopen(os.dup(self._data), "rb") as file:
            return np.memmap(file, np.uint8, "r", shape=shape)

    def missing(self, starts: npt.NDArray[np.int64], length: int) -> list[int]:
        """Those blocks, each once, that are not here of `length` bytes from each start on.

        Raises:
            DataError: The file turned out not to be what was written.
        """
        if self._damage is not None:
            raise self._damage
        lasts = (starts + length - 1) // BLOCK
        spread = (starts // BLOCK)[:, None] + np.arange(length // BLOCK + 2)
        wanted = np.unique(spread[spread <= lasts[:, None]])
        missing: list[int] = wanted[(self._here[wanted] == 0) & ~self._fetched[wanted]].tolist()
        return missing

    def request(self, first: int, stop: int, *, behind: bool = False) -> Future[None]:
        """Fetch some blocks in a thread; one alone for which a thread is at it already is waited for."""
        future: Future[None] = Future()
        with self._changing:
            if stop - first == 1 and (begun := self._under_way.get(first)) is not None:
                return begun
            if self._fetched[first:stop].all():
                future.set_result(None)
                return future
            for block in range(first, stop):
                self._under_way.setdefault(block, future)
        threads(BEHIND if behind else AT_ONCE).put((future, partial(self._fetch, first, stop, future)))
        return future

    def _fetch(self, first: int, stop: int, future: Future[None]) -> None:
        try:
            start, end = first * BLOCK, min(stop * BLOCK, self._file.bytes)
            content = memoryview(read(self._url / self._file.name, start, end))
            while content:
                done = os.pwrite(self._data, content, start)
                start, content = start + done, content[done:]
            self._fetched[first:stop] = True
        except Gone as error:
            name = written(self._url / self._file.name)
            raise DataError(f"{name} is missing", hint="convert the data set again") from error
        except OSError as error:
            raise _disk(self.partial, error) from error
        finally:
            with self._changing:
                self._under_way = {block: each for block, each in self._under_way.items() if each is not future}

    def mark(self, blocks: Sequence[int]) -> None:
        """Note that blocks are here, when they are on the disk.

        Raises:
            FastSketchError: The disk fails.
        """
        try:
            getattr(os, "fdatasync", os.fsync)(self._data)
            for block in blocks:  # not through the mapping, which could not say that the disk is full
                os.pwrite(self._record, b"\1", block)
        except OSError as error:
            raise _disk(self.partial, error) from error

    def whole(self, stop: threading.Event | None = None) -> Path | None:
        """Fetch all that is not here, or wait for who does; arguments and errors as those of the function."""
        while not self.path.is_file():
            try:
                with held(self._lock, wait=False) as ours:
                    if ours and not self.path.is_file():
                        self._fill(stop)
            except OSError as error:
                raise _disk(self.path, error) from error
            if stop is not None and stop.is_set():
                return None
            if not ours:
                (stop or threading.Event()).wait(PATIENCE)
        return self.path

    def _fill(self, stop: threading.Event | None) -> None:
        runs = self._runs()
        while some := [*islice(runs, BEHIND)]:
            futures = [self.request(*run, behind=True) for run in some]
            while wait(futures, PATIENCE).not_done:
                if stop is not None and stop.is_set():
                    return
            finish(futures)
            self.mark([block for run in some for block in range(*run)])
        digest = xxh3_128()
        for block in blocks(self.partial):
            if stop is not None and stop.is_set():
                return
            digest.update(block)
        right = digest.hexdigest() == self._file.xxh3
        with held(self.path.parent, wait=True):
            if right:
                os.replace(self.partial, self.path)
                atomic.sync(self.path.parent)
            self._blocks.unlink(missing_ok=True)
            self.partial.unlink(missing_ok=True)
        if not right:
            name = written(self._url / self._file.name)
            message = f"{name} is not as it was written: its checksum differs"
            again = "the same command fetches it anew; if that does not help, convert the data set again"
            self._damage = DataError(message, hint=again)
            raise self._damage

    def _runs(self) -> Iterator[tuple[int, int]]:
        """Blocks that are not here, as many side by side as one request fetches."""
        block = 0
        while block < self._count:
            stop = block
            while stop < min(self._count, block + RUN) and not self._here[stop]:
                stop += 1
            if stop > block:
                yield block, stop
            block = max(stop, block + 1)


def fetch_behind(files: Sequence[SparseFile]) -> None:
    """Fetch files as a whole in a thread that nobody waits for; what fails is told to who needs what is missing."""
    threading.Thread(target=_fetch_all, args=(files,), name="fetch-behind", daemon=True).start()


def _fetch_all(files: Sequence[SparseFile]) -> None:
    for file in files:
        try:
            file.whole()
        except FastSketchError as error:
            log.debug("%s", error.message)


def finish(futures: Sequence[Future[None]]) -> None:
    """Wait for all, then raise what one of them raised: nothing is written behind anybody's back."""
    wait(futures)
    for future in futures:
        future.result()


def _disk(path: Path, error: OSError) -> FastSketchError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return FastSketchError(f"{path}: {error.strerror or error}", hint=FULL if full else "the same command goes on")
