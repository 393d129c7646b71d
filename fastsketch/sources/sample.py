"""What a source is made of: samples, each with an id, and maybe a split that it came with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "val", "test")
"""The names of the splits, in the order in which they are written and reported."""


@dataclass(frozen=True, slots=True)
class ImageSample:
    """An image file. `id` is its path below the source's root, with forward slashes."""

    id: str
    path: Path
    split: str | None = None


@dataclass(frozen=True, slots=True)
class StrokeSample:
    """A drawing as one line of Quick, Draw! JSON, parsed only in the worker that rasterises it."""

    id: str
    line: bytes
    split: str | None = None


Sample = ImageSample | StrokeSample


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
    def has_splits(self) -> bool:
        """Whether every sample says which split it belongs to."""
        ...

    def samples(self, label: int) -> Sequence[Sample]:
        """All samples of one class, sorted by id.

        Raises:
            DataError: The class has no sample, or its file cannot be read.
        """
        ...
