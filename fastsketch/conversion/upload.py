"""Data sets that go to a URL: converted on this machine's disk, then put there file by file, `dataset.json` last.

    <cache>/staging/NAME.partial         the work, as anywhere; it stays until all of it is at the URL
    <cache>/staging/NAME.uploaded.json   which files at the URL are ours, and which of them are whole
    <cache>/staging/NAME.done            what is left to delete

Until `dataset.json` is there, nothing at the URL reads as a data set; and what is replaced is none any more from the
moment that something of it is written over.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError
from xxhash import xxh3_64_hexdigest

from fastsketch import atomic
from fastsketch.conversion.destination import Destination, recorded_names
from fastsketch.conversion.journal import Journal
from fastsketch.errors import ConfigError, one_line
from fastsketch.formats.files import FileRecord
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata
from fastsketch.locks import exclusive
from fastsketch.sources import Source
from fastsketch.urls import Gone, listed, look_up, on_disk, read, remove, upload, url_of, written

log = logging.getLogger(__name__)


def destination_of(path: str | Path) -> Destination:
    """The folder, or the URL, that a data set goes to.

    Raises:
        ConfigError: It is a file system's root.
    """
    return Destination.of(path) if url_of(path) is None else UrlDestination.at(Path(path))


class _Put(BaseModel):
    """A file at the URL that is ours: its XXH3-128 and what it is known by there, once it is whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    xxh3: str = ""
    stamp: str = ""


class _Uploaded(BaseModel):
    """Name → file of all that was put at the URL, or is about to be, or was of the data set that is replaced.

    Of what is there without a `dataset.json` nothing else is taken for ours: `train.beton` is a common name.
    """

    model_config = ConfigDict(extra="forbid")

    files: dict[str, _Put] = {}

    @classmethod
    def read(cls, path: Path) -> _Uploaded:
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return cls()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, self.model_dump_json())


@dataclass(frozen=True)
class UrlDestination(Destination):
    """A URL that a data set goes to.

    Attributes:
        folder: After which the folders on this machine's disk are called; it is never there itself.
        url: Where the data set goes.
    """

    url: Path

    @classmethod
    def at(cls, url: Path) -> UrlDestination:
        """The URL with its place to work in, which is always the same one."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", url.name)[:40]
        staging = platformdirs.user_cache_path("fastsketch") / "staging"
        return cls(staging / f"{name}-{xxh3_64_hexdigest(written(url).encode(errors='surrogateescape'))}", url)

    @property
    def data(self) -> Path:
        """Where the data set is read when it is finished."""
        return self.url

    @property
    def _uploaded(self) -> Path:
        return self.folder.with_name(self.folder.name + ".uploaded.json")

    @property
    def _done(self) -> Path:
        return self.folder.with_name(self.folder.name + ".done")

    def check_apart(self, source: Path) -> None:
        """Make sure that neither of the source and the URL lies within the other.

        Raises:
            ConfigError: One does.
        """
        Destination.check_apart(self, source)
        ours, theirs = (
            Path(os.path.realpath(disk)) if (disk := on_disk(each)) else each for each in (self.url, source)
        )
        if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
            raise ConfigError(
                f"the destination {written(self.url)} and the source {written(source)} lie one in the other",
                hint="choose a destination outside of the source",
            )

    def check(self, *, overwrite: bool) -> None:
        """Make sure that all that is in the way is ours to write over, before there is any work to lose.

        Raises:
            ConfigError: Something is not, or there is a data set and `overwrite` is not given.
            FastSketchError: The URL is refused, or cannot be asked now.
        """
        self.check_partial()
        self._stale(overwrite=overwrite)

    def complete(self, fingerprint: str, formats: Iterable[str], source: Source) -> DatasetMetadata | None:
        """The data set, if an earlier call of the same command was killed with no more to do than to clear up."""
        shutil.rmtree(self._done, ignore_errors=True)
        journal = Journal.read(self.partial)
        described = self.partial / FILE_NAME
        if journal is None or journal.fingerprint != fingerprint or not described.is_file():
            return None
        there = look_up(self.url / FILE_NAME)
        if (
            there is None
            or there.bytes != described.stat().st_size
            or read(self.url / FILE_NAME) != described.read_bytes()
        ):
            return None
        if changed := journal.changed_class(source):
            log.warning("%s: files of class '%s' have changed since it was converted", written(self.url), changed)
            return None
        with exclusive(self.partial):
            metadata = DatasetMetadata.load(self.partial)
            if not all(set(formats) <= record.formats.keys() for record in metadata.splits.values()):
                return None
            log.info("%s was complete when the last command was killed", written(self.url))
            self._clear_up()
            return metadata

    def publish(self, *, overwrite: bool) -> None:
        """Put the finished `partial` at the URL, and delete it here.

        Files that an earlier call has put there are not put there again: those of the same checksum, as long as what
        is there is what was there then. `dataset.json` is the first that goes of an earlier data set, and comes last.

        Raises:
            ConfigError: Meanwhile something that is not ours came in the way.
            FastSketchError: The URL is refused, or the network gone; the same command goes on from there.
        """
        metadata = DatasetMetadata.load(self.partial)
        files = [file for record in metadata.splits.values() for file in record.all_files()]
        stale = self._stale(overwrite=overwrite)
        uploaded = _Uploaded.read(self._uploaded)
        # Without `dataset.json` nothing but this says that they are ours.
        uploaded.files = {name: uploaded.files.get(name, _Put()) for name in {*uploaded.files, *stale}}
        uploaded.save(self._uploaded)
        # What says that all else is whole goes first.
        unwanted = stale - {file.name for file in files}
        for name in sorted(unwanted, key=lambda name: (name != FILE_NAME, name)):
            remove(self.url / name)
        for number, file in enumerate(files, start=1):
            if not self._is_there(file, uploaded):
                log.info("%s: %d of %d, %s MB", file.name, number, len(files), f"{file.bytes / 1e6:,.0f}")
                uploaded.files[file.name] = _Put()
                uploaded.save(self._uploaded)
                upload(self.partial / file.name, self.url / file.name)
                if there := look_up(self.url / file.name):
                    uploaded.files[file.name] = _Put(xxh3=file.xxh3, stamp=there.stamp)
                    uploaded.save(self._uploaded)
        upload(self.partial / FILE_NAME, self.url / FILE_NAME)
        self._clear_up()

    def _is_there(self, file: FileRecord, uploaded: _Uploaded) -> bool:
        put = uploaded.files.get(file.name)
        if put is None or put.xxh3 != file.xxh3:
            return False
        there = look_up(self.url / file.name)
        return there is not None and (there.bytes, there.stamp) == (file.bytes, put.stamp)

    def _stale(self, *, overwrite: bool) -> set[str]:
        """The names of all that is at the URL; all of it is ours.

        Raises:
            ConfigError: It is not, or there is a data set and `overwrite` is not given.
        """
        try:
            there = {entry.name: entry for entry in listed(self.url)}
        except Gone:
            return set()
        ours = {FILE_NAME}
        if FILE_NAME in there:
            if not overwrite:
                raise ConfigError(
                    f"{written(self.url)} exists", hint="choose another folder, or replace it with --overwrite"
                )
            try:
                ours |= recorded_names(read(self.url / FILE_NAME))
            except ValidationError as error:
                raise ConfigError(
                    f"{written(self.url / FILE_NAME)} is damaged: --overwrite cannot tell what it may delete",
                    hint=f"delete {written(self.url)} yourself, or choose another destination",
                ) from error
        else:  # an interrupted upload's
            ours |= _Uploaded.read(self._uploaded).files.keys()
        if others := [name for name, entry in there.items() if name not in ours or entry.folder]:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise ConfigError(
                f"{written(self.url)} holds '{one_line(others[0], 80)}'{more}, which no conversion wrote and none "
                "will delete",
                hint="move or delete it yourself, or choose another destination",
            )
        return {*there}

    def _clear_up(self) -> None:
        """Delete what is here: from its first step on, nothing of it is taken for work."""
        os.replace(self.partial, self._done)
        self._uploaded.unlink(missing_ok=True)
        shutil.rmtree(self._done)
