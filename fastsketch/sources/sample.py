"""What a source is made of: samples, each with an id, and maybe a split that it came with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "val", "test")
"""The names of the splits, in the order in which they are written and reported."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks by other names, and what stands for bytes that are not UTF-8."""

_LIKE_AN_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})")


@dataclass(frozen=True, slots=True)
class ImageSample:
    """An image file.

    Attributes:
        id: Its path below the source's root, with forward slashes, `printable`.
        path: Where it is.
        split: The split that it came with.
        bytes: Its length, where it was listed by URL.
    """

    id: str
    path: Path
    split: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ContentSample:
    """What an image file holds, in an archive or at a URL."""

    id: str
    content: bytes
    split: str | None = None


@dataclass(frozen=True, slots=True)
class StrokeSample:
    """A drawing as one line of Quick, Draw! JSON, parsed only in the worker that rasterises it."""

    id: str
    line: bytes
    split: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSample:
    """An image as a conversion has stored it already, or why it could not.

    Attributes:
        id: As its source called it.
        path: A file of images, uint8 one after the other.
        offset: Where in it this one begins, in bytes.
        split: The split that it went to.
        failure: Why it could not be decoded; then there is nothing in the file.
    """

    id: str
    path: Path
    offset: int
    split: str
    failure: str = ""


Sample = ImageSample | ContentSample | StrokeSample | StoredSample


class Source(Protocol):
    """Raw data of any kind, read one class at a time so that memory does not grow with the number of samples."""

    @property
    def kind(self) -> str:
        """One word for the record: `folder`, `filelist` or `quickdraw`."""
        ...

    @property
    def root(self) -> Path:
        """The folder that ids start from, or the single file; the same classes may lie elsewhere, too."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in torchvision's order (plain sort); a label is an index into them."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the source comes with: either none, or every sample says which of them it belongs to."""
        ...

    def samples(self, label: int) -> Sequence[Sample]:
        """All samples of one class, sorted by id.

        Raises:
            DataError: The class has no sample, or its file cannot be read.
        """
        ...

    def unread(self) -> Counter[str]:
        """How many pictures of kinds that are not read lie in the classes that were listed, by suffix."""
        ...

    def state(self, label: int) -> str:
        """What the files of one class are by name, size and time of change: another text if one of them is changed.

        Nothing is opened for it, and what is not there is a state, too.

        Raises:
            DataError: A folder cannot be read.
        """
        ...


def printable(name: str) -> str:
    r"""A name that can be written as UTF-8 and printed on one line, and no two names as the same.

    What cannot is written as `\x0a` or `\u2028`, a byte of a file name that is not UTF-8 as `\xe9`, and a backslash
    that would read as one of these as `\x5c`. All other names stay as they are.
    """
    return _UNPRINTABLE.sub(_escape, _LIKE_AN_ESCAPE.sub(r"\\x5c", name))


def is_printable(name: str) -> bool:
    """Whether a name is UTF-8 and one line."""
    return not _UNPRINTABLE.search(name)


def _escape(letter: re.Match[str]) -> str:
    code = ord(letter[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
