"""One data file as `dataset.json` records it: its name, its length and two checksums.

SHA-256 is what the world compares, and `inspect --verify`. XXH3 runs at the speed of memory: with it training makes
sure that it learns from what was converted. Both are taken in one pass.
"""

from __future__ import annotations

import hashlib
import stat
import threading
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from xxhash import xxh3_128

from fastsketch.errors import DataError
from fastsketch.formats.blocks import blocks
from fastsketch.formats.cache import place, whole
from fastsketch.urls import url_of, written


class FileRecord(BaseModel):
    """One data file: its plain name inside the data set, its length in bytes, its SHA-256 and its XXH3-128."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
    bytes: Annotated[int, Field(ge=0, lt=1 << 63)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    xxh3: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Read the file once and record it."""
        sha256, xxh3, length = hashlib.sha256(), xxh3_128(), 0
        for block in blocks(path):
            sha256.update(block)
            xxh3.update(block)
            length += len(block)
        return cls(name=path.name, bytes=length, sha256=sha256.hexdigest(), xxh3=xxh3.hexdigest())

    def locate(self, folder: Path) -> Path:
        """The file's path, if a regular file is there in its full length; its contents are `verify`'s business.

        A link to such a file is as good: large files are kept elsewhere and linked to.

        Of a data set at a URL, the file is fetched as a whole if it was not.

        Raises:
            DataError: It is missing, truncated, too long, or a folder, a pipe or the like.
            FastSketchError: It cannot be fetched.
        """
        path = self.fetched(folder) or folder / self.name
        try:
            found = path.stat()
        except OSError as error:
            missing = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise self.damage(folder, missing) from error
        if not stat.S_ISREG(found.st_mode):
            raise self.damage(folder, "is no regular file")
        if found.st_size != self.bytes:
            raise self.damage(folder, f"has {found.st_size:,} bytes instead of {self.bytes:,}")
        return path

    def fetched(self, folder: Path, stop: threading.Event | None = None) -> Path | None:
        """The file on this disk, whole, if the data set is at a URL and unless `stop` is set before that; else None.

        Raises:
            DataError, FastSketchError: As `cache.whole`.
        """
        if url_of(folder) is None:
            return None
        return whole(folder, self, stop)

    def verify(self, folder: Path) -> None:
        """Read the whole file and compare both its checksums.

        Raises:
            DataError: It is not, byte for byte, the file that was recorded.
        """
        if FileRecord.of(self.locate(folder)) != self:
            raise self.changed(folder)

    def changed(self, folder: Path) -> DataError:
        """The error for a file with another checksum."""
        return self.damage(folder, "is not as it was written: its checksum differs")

    def damage(self, folder: Path, what: str) -> DataError:
        """The error for a file that is not what it should be, in one line, with the remedy."""
        hint = "convert the data set again"
        if url_of(folder):
            return DataError(
                f"{place(folder) / self.name}, fetched from {written(folder)}, {what}",
                hint="delete it, and it is fetched again",
            )
        if format := {".beton": "ffcv", ".tar": "dali", ".idx": "dali"}.get(Path(self.name).suffix):
            hint = f"where it is gone it is written anew from the pack: fastsketch convert {folder} --format {format}"
        return DataError(f"{folder / self.name} {what}", hint=hint)
