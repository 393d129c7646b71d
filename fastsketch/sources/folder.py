"""ImageFolder: `root/<class>/**/<image>`, or the same below `train/`, `val/` and `test/`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fastsketch.errors import DataError
from fastsketch.sources.sample import SPLITS, ImageSample

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"})

log = logging.getLogger(__name__)

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder names that mean a split."""


class FolderSource:
    """Images sorted into one folder a class, with or without a level of split folders above.

    A level counts as split folders only if there is a `train` and *every* folder has a split's name: TU-Berlin has a
    class that is called `train`.

    Raises:
        DataError: There is no folder with images, a class exists in `val` or `test` only, or its name is not UTF-8.
    """

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self.root = root
        folders = _subfolders(root)
        self.has_splits = "train" in folders and all(name in SPLIT_FOLDERS for name in folders)
        self._roots = (
            {name: SPLIT_FOLDERS[name] for name in folders} if self.has_splits else {".": None}
        )  # folder below the root -> split
        if not self.has_splits and len(mistaken := [name for name in folders if name in SPLIT_FOLDERS]) > 1:
            log.warning(
                "%s: %s are read as classes; they are splits where there is a train/ and no other folder than splits",
                root,
                ", ".join(mistaken),
            )
        duplicates = [s for s in SPLITS if list(self._roots.values()).count(s) > 1]
        if duplicates:
            raise DataError(f"{root}: two folders mean the split '{duplicates[0]}'", hint="keep one of them")
        classes = {folder: set(_subfolders(root / folder)) for folder in self._roots}
        self.class_names = tuple(sorted(set().union(*classes.values())))
        if not self.class_names:
            raise DataError(
                f"{root}: no class folders with images",
                hint="expected ROOT/<class>/<image> or ROOT/train/<class>/<image>",
            )
        if foreign := [name for name in self.class_names if name != _printable(name)]:
            raise DataError(f"{root}: the folder name '{_printable(foreign[0])}' is not UTF-8", hint="rename it")
        if self.has_splits and (missing := sorted(set(self.class_names) - classes["train"])):
            raise DataError(f"{root}: class '{missing[0]}' is in another split but not in train/")

    def samples(self, label: int) -> Sequence[ImageSample]:
        """All images of one class over all splits, sorted by id; hidden files and other file types are passed over."""
        name = self.class_names[label]
        found = [
            ImageSample(_printable(path.relative_to(self.root).as_posix()), path, split)
            for folder, split in self._roots.items()
            for path in _images(self.root / folder / name)
        ]
        if not found:
            raise DataError(f"{self.root}: class '{name}' has no image", hint="add images or remove the folder")
        if self.has_splits and all(sample.split != "train" for sample in found):
            raise DataError(
                f"{self.root}: class '{name}' has no image in train/", hint="add images or remove the class"
            )
        return sorted(found, key=lambda sample: sample.id)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _printable(name: str) -> str:
    """The bytes of a file name that are not UTF-8 as `\\xe9`: Python's stand-ins for them cannot be written to JSON."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _images(folder: Path) -> list[Path]:
    return [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]
