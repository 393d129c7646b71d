"""ImageFolder: `root/<class>/**/<image>`, or the same below `train/`, `val/` and `test/`."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastsketch.errors import DataError
from fastsketch.sources.files import Entry, digest_of, entries, identity, is_folder, walk
from fastsketch.sources.sample import SPLITS, ImageSample, is_printable, printable
from fastsketch.urls import Entry as RemoteEntry
from fastsketch.urls import written

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"})

UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".svg", ".jxl", ".jp2", ".psd", ".ai", ".eps", ".pdf", ".ico", ".tga", ".dng"}
)
"""Pictures as well: whoever has them among the others wants to know that they are passed over."""

log = logging.getLogger(__name__)

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder names that mean a split."""

LAYOUTS = "expected ROOT/<class>/<image> or ROOT/train/<class>/<image>"


class FolderSource:
    """Images sorted into one folder a class, with or without a level of split folders above.

    A level counts as split folders only if there is a `train` and *every* folder has a split's name: TU-Berlin has a
    class that is called `train`. Links to folders and images are followed.

    Raises:
        DataError: The folders cannot be meant as classes: there is none, or one alone, all images lie deeper, a class
            exists in `val` or `test` only, or its name is not UTF-8 or not one line.
    """

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unread: dict[str, Counter[str]] = defaultdict(Counter)
        folders = _subfolders(root)
        self._roots = _split_folders(root, folders)
        self.splits = tuple(split for split in SPLITS if split in self._roots.values())
        classes = {folder: set(_subfolders(root / folder)) for folder in self._roots}
        self.class_names = tuple(sorted(set().union(*classes.values())))
        if not self.class_names:
            loose = sum(map(_is_image, entries(root)))
            found = f"; {loose} images lie directly in it" if loose else ""
            raise DataError(f"{written(root)}: no class folders with images{found}", hint=LAYOUTS)
        if foreign := [name for name in self.class_names if not is_printable(name)]:
            raise DataError(
                f"{written(root)}: the folder name '{printable(foreign[0])}' is not UTF-8 or not one line",
                hint="rename it",
            )
        if self.splits and (missing := sorted(set(self.class_names) - classes["train"])):
            raise DataError(f"{written(root)}: class '{missing[0]}' is in another split but not in train/")
        self._check_depth([root / folder / name for folder in self._roots for name in sorted(classes[folder])])

    def samples(self, label: int) -> Sequence[ImageSample]:
        """All images of one class over all splits, sorted by id; hidden files and other file types are passed over."""
        name = self.class_names[label]
        found = [sample for sample, _ in self._found(name)]
        if not found:
            raise self._without_image()
        if self.splits and all(sample.split != "train" for sample in found):
            raise DataError(
                f"{written(self.root)}: class '{name}' has no image in train/", hint="add images or remove the class"
            )
        return sorted(found, key=lambda sample: sample.id)

    def state(self, label: int) -> str:
        """A digest of what the images of one class are on disk."""
        return digest_of((sample.id, entry) for sample, entry in self._found(self.class_names[label]))

    def unread(self) -> Counter[str]:
        """How many pictures of `UNREAD_SUFFIXES` lie in the classes that were listed."""
        return sum(self._unread.values(), Counter[str]())

    def _without_image(self) -> DataError:
        """All classes that have none: whoever mends one would be told of the next an hour later."""
        empty = [name for name in self.class_names if not self._found(name)]
        named = "', '".join(empty)
        which = f"class '{named}' has" if len(empty) == 1 else f"{len(empty)} classes, '{named}', have"
        unread = sum((self._unread[name] for name in empty), Counter[str]())
        kinds = f" (their {', '.join(sorted(unread))} files are not read)" if unread else ""
        return DataError(f"{written(self.root)}: {which} no image{kinds}", hint="add images or remove the folder")

    def _found(self, name: str) -> list[tuple[ImageSample, Entry]]:
        self._unread[name].clear()
        return [
            (self._sample(entry, split), entry)
            for folder, split in self._roots.items()
            for entry in self._images(folder, name)
        ]

    def _sample(self, entry: Entry, split: str | None) -> ImageSample:
        path = Path(entry.path)
        length = entry.bytes if isinstance(entry, RemoteEntry) else None
        return ImageSample(printable(path.relative_to(self.root).as_posix()), path, split, length)

    def _images(self, folder: str, name: str) -> Iterator[Entry]:
        """All images of a class below a split's folder, at any depth."""
        path = self.root / folder / name
        if not is_folder(path):  # a class need not be in every split
            return
        for entry in walk(path, {identity(self.root)}):  # a link up to the root would make one class of all
            if _is_image(entry):
                yield entry
            elif (suffix := os.path.splitext(entry.name)[1].lower()) in UNREAD_SUFFIXES:
                self._unread[name][suffix] += 1

    def _check_depth(self, folders: Sequence[Path]) -> None:
        """Make sure that the folders are the classes: one alone is none, nor are those that hold but folders."""
        alone = len(self.class_names) == 1
        if not alone and any(_is_image(entry) for path in folders for entry in entries(path)):
            return
        inside = [(path, found) for path in folders if (found := _subfolders(path))]
        likely = ((path, found) for path, found in inside if any(_holds_images(path / name) for name in found))
        first, inner = next(likely, inside[0] if inside else (folders[0], []))
        named = ", ".join(printable(name) for name in inner[:2]) + (", …" if len(inner) > 2 else "")
        if alone:
            count = sum(1 for folder in self._roots for _ in self._images(folder, self.class_names[0]))
            raise DataError(
                f"{written(self.root)}: {count:,} images of one class '{self.class_names[0]}'",
                hint=f"if its folders ({named}) are the classes, convert {written(first)}" if inner else LAYOUTS,
            )
        if any(True for folder in self._roots for name in self.class_names for _ in self._images(folder, name)):
            where = written(first)
            hint = f"if the folders of {where} ({named}) are the classes, convert that; if not, move the images up"
            if not self.splits and "train" in self.class_names:
                stray = next(name for name in self.class_names if name not in SPLIT_FOLDERS)
                hint = f"train/ is a split only where all folders are: move {stray}/ elsewhere"
            raise DataError(f"{written(self.root)}: no class folder holds images itself, all are deeper", hint=hint)


def _split_folders(root: Path, folders: list[str]) -> dict[str, str | None]:
    """Folder below the root → split; the root alone where the folders are no splits."""
    mistaken = [name for name in folders if name in SPLIT_FOLDERS]
    if "train" in folders and len(mistaken) == len(folders):
        for split in SPLITS:
            if [SPLIT_FOLDERS[name] for name in folders].count(split) > 1:
                raise DataError(f"{written(root)}: two folders mean the split '{split}'", hint="keep one of them")
        return {name: SPLIT_FOLDERS[name] for name in folders}
    if mistaken and len(mistaken) == len(folders) and any(_subfolders(root / name) for name in folders):
        raise DataError(
            f"{written(root)}: there is {' and '.join(f'{name}/' for name in folders)} but no train/",
            hint=f"expected ROOT/train/<class>/<image>; to divide what there is, convert {written(root / folders[0])}",
        )
    if len(mistaken) > 1:
        log.warning(
            "%s: %s are read as classes; they are splits where there is a train/ and no other folder than splits",
            written(root),
            ", ".join(mistaken),
        )
    return {".": None}


def _subfolders(folder: Path) -> list[str]:
    return [entry.name for entry in entries(folder) if is_folder(entry)]


def _holds_images(folder: Path) -> bool:
    return any(_is_image(entry) for entry in entries(folder))


def _is_image(entry: Entry) -> bool:
    """By its name alone: what cannot be read is told when it is tried."""
    return is_image_name(entry.name) and not is_folder(entry)


def is_image_name(name: str) -> bool:
    """Whether a file of that name, or at that path, is meant to be an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
