"""Where a conversion works and what it replaces: nothing is written over or deleted that does not say that it is ours.

    <destination>.partial   ours if it holds a journal, which is the first file ever written there
    <destination>           replaced only if it is a data set and holds nothing that its `dataset.json` does not record
    <destination>.earlier   the data set that is being replaced: ours if it holds the note that was put into it before

Each step below is one change on the disk, and after each the same command finds what it needs to go on.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fastsketch import atomic
from fastsketch.conversion.journal import Journal
from fastsketch.errors import ConfigError, FastSketchError, one_line
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata
from fastsketch.formats.names import COLUMNS
from fastsketch.locks import exclusive
from fastsketch.sources.sample import SPLITS, Source, printable
from fastsketch.urls import on_disk

log = logging.getLogger(__name__)

NOTE = "replaced-by-fastsketch.json"
"""In a data set that is being replaced: the names of its files, so that these and no others are deleted."""

_SUFFIXES = "|".join(map(re.escape, COLUMNS.values()))
_PACK = re.compile(rf"({'|'.join(SPLITS)})\.({_SUFFIXES}|images-\d{{5,}}\.u8)")
_EXPORTED = re.compile(rf"({'|'.join(SPLITS)})(\.beton|-\d{{5,}}\.(tar|idx))")

_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _File(_Lenient):
    name: _FileName


class _Split(_Lenient):
    files: dict[str, _File]
    formats: dict[str, list[_File]] = {}


class _Recorded(_Lenient):
    """Of a `dataset.json` of any version, what it says of files."""

    splits: dict[str, _Split]

    def names(self) -> set[str]:
        files = [file for split in self.splits.values() for file in split.files.values()]
        files += [file for split in self.splits.values() for files in split.formats.values() for file in files]
        return {file.name for file in files}


def recorded_names(content: bytes) -> set[str]:
    """The names of all files but itself that a `dataset.json` of any version records.

    Raises:
        ValidationError: It is none.
    """
    return _Recorded.model_validate_json(content).names()


class _Note(_Lenient):
    replaced: list[_FileName]


@dataclass(frozen=True, slots=True)
class Destination:
    """The folder that a data set goes to; links are followed, so that a link stays a link."""

    folder: Path

    @classmethod
    def of(cls, path: str | Path) -> Destination:
        """The folder that `path` means: `.` has no name to put `.partial` after.

        Raises:
            ConfigError: It is a file system's root, which no finished folder can take the place of.
        """
        folder = Path(os.path.realpath(path))
        if not folder.name or os.path.ismount(folder):
            raise ConfigError(f"{folder} is a disk, which no data set can replace", hint="name a folder in it")
        return cls(folder)

    @property
    def name(self) -> str:
        """The folder's, as a journal says for which it was made."""
        return printable(self.folder.name)

    @property
    def data(self) -> Path:
        """Where the data set is read when it is finished."""
        return self.folder

    @property
    def partial(self) -> Path:
        """Where the work goes on."""
        return self.folder.with_name(self.folder.name + ".partial")

    @property
    def earlier(self) -> Path:
        """Where a data set that is replaced lies until it is deleted."""
        return self.folder.with_name(self.folder.name + ".earlier")

    def check_apart(self, source: Path) -> None:
        """Make sure that neither of the source and what is written or deleted lies within the other.

        Raises:
            ConfigError: One does.
        """
        if (here := on_disk(source)) is None:
            return
        root = Path(os.path.realpath(here))
        for ours in (self.folder, self.partial, self.earlier):
            if _within(root, ours):
                raise ConfigError(
                    f"the source {source} lies in {ours}, which the conversion may replace",
                    hint="choose a destination that does not hold the source",
                )
            if root.is_dir() and _within(ours, root):
                raise ConfigError(
                    f"the destination {ours} lies in the source {source}", hint="choose one outside of the source"
                )

    def check(self, *, overwrite: bool) -> None:
        """Make sure that all that is in the way is ours to write over, before there is any work to lose.

        Raises:
            ConfigError: Something is not, or there is a data set and `overwrite` is not given.
        """
        self.check_partial()
        if not _entries(self.folder, "the destination"):
            note = _note(self.earlier)
            if note and not overwrite and (self.earlier / FILE_NAME).is_file():
                raise ConfigError(
                    f"{self.earlier} is a data set that was being replaced by {self.folder.name}",
                    hint=f"the same command with --overwrite finishes that, or rename it back to {self.folder.name}",
                )
            return
        if not overwrite:
            raise ConfigError(f"{self.folder} exists", hint="choose another folder, or replace it with --overwrite")
        self._recorded()
        if _entries(self.earlier, "the place for an earlier data set") and _note(self.earlier) is None:
            raise ConfigError(
                f"{self.earlier} is in the way and not fastsketch's: it would hold the data set that is replaced",
                hint="rename it, or choose another destination",
            )

    def check_partial(self) -> None:
        """Make sure that all in `partial` was written by a conversion.

        Raises:
            ConfigError: It was not.
        """
        names = _entries(self.partial, "the folder to work in")
        journal = Journal.read(self.partial)
        if journal and journal.made_for != self.name:
            raise ConfigError(
                f"{self.partial} is in the way: it is the data set '{journal.made_for}', not unfinished work",
                hint="rename it, or choose another destination",
            )
        damaged = Journal.FILE_NAME in names and any(map(_PACK.fullmatch, names))
        if names and journal is None and not damaged:
            raise ConfigError(
                f"{self.partial} is in the way and not fastsketch's: the conversion would work there",
                hint="rename it, or choose another destination",
            )
        if others := [name for name in names if not _is_work(name) or (self.partial / name).is_dir()]:
            raise _foreign(self.partial, others)

    def complete(self, fingerprint: str, formats: Iterable[str], source: Source) -> DatasetMetadata | None:
        """The data set, if an earlier call of the same command was killed with no more to do than to clear up.

        It is not what the command asks for any more if the source has changed since.

        Raises:
            FastSketchError: That call is still at it.
        """
        journal = Journal.read(self.folder)
        if journal is None or journal.fingerprint != fingerprint or not (self.folder / FILE_NAME).is_file():
            return None
        if changed := journal.changed_class(source):
            log.warning("%s: files of class '%s' have changed since it was converted", self.folder, changed)
            return None
        with exclusive(self.folder):
            metadata = DatasetMetadata.load(self.folder)
            if not all(set(formats) <= record.formats.keys() for record in metadata.splits.values()):
                return None
            log.info("%s was complete when the last command was killed", self.folder)
            self._clear_up()
            return metadata

    def start_over(self) -> None:
        """Delete all work but the journal, which says that the folder is ours."""
        (self.partial / FILE_NAME).unlink(missing_ok=True)  # first: it says that all else is whole
        self.tidy({Journal.FILE_NAME})

    def tidy(self, keep: set[str]) -> None:
        """Delete what conversions left in `partial`, but for the files to `keep`.

        Raises:
            ConfigError: There is something that no conversion wrote.
        """
        self.check_partial()
        atomic.sweep(self.partial)
        for name in _entries(self.partial, "the folder to work in"):
            if name not in keep:
                (self.partial / name).unlink()

    def publish(self, *, overwrite: bool) -> None:
        """Put the finished `partial` in its place; an earlier data set is deleted only after that.

        The journal goes along and is deleted last: until then the same command goes on from here.

        Raises:
            ConfigError: Meanwhile something that is not ours came in the way.
        """
        self.check(overwrite=overwrite)
        if _entries(self.folder, "the destination"):
            with exclusive(self.folder):
                self._discard_earlier()
                atomic.sweep(self.folder)
                atomic.write_json(self.folder / NOTE, {"replaced": sorted(self._recorded())})
                os.replace(self.folder, self.earlier)
        os.replace(self.partial, self.folder)
        atomic.sync(self.folder.parent)
        self._clear_up()

    def _clear_up(self) -> None:
        self._discard_earlier()
        (self.folder / Journal.FILE_NAME).unlink()
        atomic.sync(self.folder)

    def _discard_earlier(self) -> None:
        """Delete the data set that was replaced: what its note names, and no more."""
        note = _note(self.earlier)
        if note is not None:
            # Without the first it is no data set, half deleted or not; the last says that all this is ours.
            for name in (FILE_NAME, Journal.FILE_NAME, *note.replaced, NOTE):
                path = self.earlier / name
                if path.is_symlink() or path.is_file():
                    path.unlink()
        elif self.earlier.is_symlink() or not self.earlier.is_dir() or any(self.earlier.iterdir()):
            return
        try:
            self.earlier.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            log.warning("%s is left: somebody else put something there", self.earlier)

    def _recorded(self) -> set[str]:
        """The names of the files of the data set that is to be replaced.

        Raises:
            ConfigError: It is no data set, cannot be read, or there is anything else in the folder.
        """
        path = self.folder / FILE_NAME
        if not path.is_file():
            raise ConfigError(f"{self.folder} exists and is no data set: --overwrite will not delete it")
        try:
            names = recorded_names(path.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"{path} is damaged: --overwrite cannot tell what it may delete",
                hint=f"delete {self.folder} yourself, or choose another destination",
            ) from error
        ours = names | {FILE_NAME, NOTE, Journal.FILE_NAME}
        entries = _entries(self.folder, "the destination")
        if others := [name for name in entries if name not in ours or (self.folder / name).is_dir()]:
            raise _foreign(self.folder, others)
        return names


def _is_work(name: str) -> bool:
    """Whether a conversion calls a file so."""
    return name in (FILE_NAME, Journal.FILE_NAME) or bool(_PACK.fullmatch(name) or _EXPORTED.fullmatch(name))


def _foreign(folder: Path, names: list[str]) -> FastSketchError:
    """The error for what somebody else put where files would be deleted."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return ConfigError(
        f"{folder} holds '{one_line(names[0], 80)}'{more}, which no conversion wrote and none will delete",
        hint="move or delete it yourself, or choose another destination",
    )


def _note(folder: Path) -> _Note | None:
    path = folder / NOTE
    try:
        return _Note.model_validate_json(path.read_bytes()) if path.is_file() and not folder.is_symlink() else None
    except ValidationError:
        return None


def _entries(folder: Path, what: str) -> list[str]:
    """The names in a folder, but for our temporary files; none if it is not there.

    Raises:
        ConfigError: There is a file or a link in its place.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder} is in the way: {what} is no folder", hint="rename it, or choose another name")
    try:
        return sorted(path.name for path in folder.iterdir() if not atomic.is_temporary(path))
    except FileNotFoundError:
        return []


def _within(inner: Path, outer: Path) -> bool:
    """Whether a path, which need not exist, is `outer` or lies in it, by whatever name or case."""
    return outer.exists() and any(path.exists() and path.samefile(outer) for path in (inner, *inner.parents))
