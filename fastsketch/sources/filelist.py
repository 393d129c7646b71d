"""TU-Berlin's `filelist.txt`: one `<class>/<id>.png` a line, relative to the list's own folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastsketch.errors import DataError
from fastsketch.sources.files import open_regular, state_of
from fastsketch.sources.sample import ImageSample, is_printable, printable
from fastsketch.urls import written


class FileListSource:
    """Exactly the images that the list names, whatever else lies beside them; empty lines are passed over.

    Raises:
        DataError: The list is empty, cannot be read or is not UTF-8, or a line is not `<class>/<image>` below the
            list's folder.
    """

    kind = "filelist"
    splits: tuple[str, ...] = ()

    def __init__(self, filelist: Path) -> None:
        self.root, where = filelist.parent, written(filelist)
        self._files: dict[str, list[str]] = defaultdict(list)
        try:
            with open_regular(filelist) as file:
                lines = re.split("\r\n|\r|\n", file.read().decode("utf-8-sig"))
        except OSError as error:
            raise DataError(f"{where}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from error
        for number, line in enumerate(lines, start=1):
            entry = PurePosixPath(line.strip())
            if not entry.parts:
                continue
            if len(entry.parts) != 2 or entry.is_absolute() or ".." in entry.parts or not is_printable(entry.parts[0]):
                raise DataError(f"{where}, line {number}: '{printable(str(entry))}' is not <class>/<image>")
            self._files[entry.parts[0]].append(str(entry))
        if not self._files:
            raise DataError(f"{where}: the list is empty")
        self.class_names = tuple(sorted(self._files))

    def samples(self, label: int) -> Sequence[ImageSample]:
        """The listed images of one class, sorted by id; one that is missing on disk shows up when it is decoded."""
        return sorted(self._listed(label), key=lambda sample: sample.id)

    def unread(self) -> Counter[str]:
        """None: what is there was asked for by name."""
        return Counter()

    def state(self, label: int) -> str:
        """A digest of what the listed images of one class are on disk."""
        return state_of(self._listed(label))

    def _listed(self, label: int) -> list[ImageSample]:
        names = set(self._files[self.class_names[label]])
        return [ImageSample(printable(name), self.root / name) for name in names]
