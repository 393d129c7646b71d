"""A data set's files, read once in the background and compared with their checksums while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from xxhash import xxh3_128

from fastsketch.errors import FastSketchError
from fastsketch.formats.blocks import blocks
from fastsketch.formats.metadata import SplitRecord
from fastsketch.urls import url_of


class Verifier:
    """Reads files in a thread of its own, as long as the context lasts.

    A block is read and hashed without Python's lock: the training loop waits for neither.

    Args:
        folder: The data set.
        splits: Those whose files are read: in all formats, or of a data set at a URL those of the pack.
        verified: Names of files that have been verified already.

    Attributes:
        damage: What was found, None if nothing (yet).
        doubtful: Whether steps of this epoch were saved before all was read; then what is told of damage says so.
    """

    def __init__(self, folder: Path, splits: Iterable[SplitRecord], verified: frozenset[str] = frozenset()) -> None:
        self._folder = folder
        # What is fetched in another format, by whoever reads that, was compared as it came.
        files = [split.all_files() if url_of(folder) is None else [*split.files.values()] for split in splits]
        self._files = [file for each in files for file in each if file.name not in verified]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)
        self.damage: FastSketchError | None = None
        self.doubtful = False

    def finished(self, timeout: float | None = None) -> bool:
        """Whether all is read, or damage found; waits for it, `timeout` seconds at most."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def conclude(self) -> None:
        """Wait until all is read.

        Raises:
            DataError: A file is damaged.
        """
        self._thread.join()
        self.tell()

    def tell(self) -> None:
        """Nothing, or the damage found so far.

        Raises:
            DataError: A file is damaged.
        """
        if self.damage is None:
            return
        if self.doubtful:
            again = "the saved steps of this epoch may have seen it: train anew in another --out"
            self.damage.hint = f"{self.damage.hint}; {again}" if self.damage.hint else again
        raise self.damage

    def _run(self) -> None:
        try:
            for file in self._files:
                if url_of(self._folder) and file.fetched(self._folder, self._stop) is None:
                    return
                digest = xxh3_128()
                for block in blocks(file.locate(self._folder)):
                    if self._stop.is_set():
                        return
                    digest.update(block)
                if digest.hexdigest() != file.xxh3:
                    raise file.changed(self._folder)
        except FastSketchError as error:  # damage, or what is at a URL cannot be fetched
            self.damage = error
        except OSError as error:  # the disk itself
            self.damage = file.damage(self._folder, f"cannot be read ({error.strerror or error})")

    def __enter__(self) -> Verifier:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
