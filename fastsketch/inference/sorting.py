"""Files put into a folder a class, as links or copies: what is there already is never written over."""

from __future__ import annotations

import os
import re
import shutil
from itertools import count
from pathlib import Path

from fastsketch import atomic
from fastsketch.errors import FastSketchError
from fastsketch.inference.inputs import Input
from fastsketch.inference.rows import Row
from fastsketch.sources.sample import ContentSample, ImageSample

UNSURE = "_unsure"
"""The folder of those of which no class is likely enough."""


class Sorter:
    """Puts inputs into `folder/<class>/`: image files as links, or as copies; what lay in an archive as a file.

    Strokes and images of a data set, which are no files, are left out. The same inputs again change nothing: a file
    that is there already, whatever its name there, is known by where it leads or by what it holds.

    Args:
        folder: Made if it is missing.
        copy: Copy files instead of linking to them.

    Attributes:
        files: Those that were put.
    """

    def __init__(self, folder: Path, *, copy: bool) -> None:
        self.folder, self._copy = folder, copy
        self.files = 0

    def put(self, sample: Input, row: Row) -> None:
        """Put one input where its row says.

        Raises:
            FastSketchError: It cannot be written.
        """
        if row.error is not None or not isinstance(sample, ImageSample | ContentSample):
            return
        self.files += 1
        target = self.folder / (_folder_name(row.labels[0]) if row.labels else UNSURE)
        try:
            target.mkdir(parents=True, exist_ok=True)
            name = Path(sample.path.name if isinstance(sample, ImageSample) else sample.id).name
            for number in count(1):
                path = target / (name if number == 1 else f"{Path(name).stem}-{number}{Path(name).suffix}")
                if not os.path.lexists(path):
                    self._make(path, sample)
                    return
                if self._is_there(path, sample):
                    return
        except OSError as error:
            raise FastSketchError(
                f"{error.filename or target}: {error.strerror or error}",
                hint="the same command goes on once it is mended",
            ) from error

    def _make(self, path: Path, sample: ImageSample | ContentSample) -> None:
        if isinstance(sample, ImageSample) and not self._copy:
            path.symlink_to(sample.path.resolve())
            return
        with atomic.replacing(path) as temporary:
            if isinstance(sample, ImageSample):
                shutil.copyfile(sample.path, temporary)
            else:
                temporary.write_bytes(sample.content)

    def _is_there(self, path: Path, sample: ImageSample | ContentSample) -> bool:
        """Whether `path` is this input already."""
        if not path.is_file():
            return False
        if isinstance(sample, ImageSample):
            if path.is_symlink() or not self._copy:
                return path.samefile(sample.path)
            return _same_content(path, sample.path)
        return path.stat().st_size == len(sample.content) and path.read_bytes() == sample.content


def _same_content(one: Path, other: Path) -> bool:
    import filecmp

    return filecmp.cmp(one, other, shallow=False)


def _folder_name(label: str) -> str:
    """A class as a folder's name: nothing that leads elsewhere."""
    name = re.sub(r"[/\\\x00]", "_", label)
    return f"_{name}" if name in ("", ".", "..", UNSURE) else name
