"""How far a conversion has come, on disk, so that the same command continues after a kill."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from fastsketch import atomic
from fastsketch.errors import DataError
from fastsketch.formats.metadata import Skipped
from fastsketch.formats.names import column_name, images_per_file, pack_names
from fastsketch.sources.sample import SPLITS, Source

log = logging.getLogger(__name__)


class Totals(BaseModel):
    """Sums over a split's images: their number, their pixels, and the squares of their pixels."""

    samples: NonNegativeInt = 0
    sum: NonNegativeInt = 0
    squares: NonNegativeInt = 0


class Journal(BaseModel):
    """How far the plan has been carried out, and everything needed to go on from there.

    Attributes:
        fingerprint: All settings that decide the resulting bytes.
        made_for: Name of the folder that the data set is to be, in which the journal still lies for a moment.
        label: The class under way.
        offset: Samples of that class that are done.
        listed: All samples of that class.
        sources: What the files of each class begun, up to the one under way, were when it was listed.
        first_skipped: How many samples had been skipped when each of these classes began.
        class_samples: Images of that class that could be decoded.
        done: Images written.
        skipped: Samples that could not be decoded.
        inverted: Images that look light on dark.
        gray: Images whose paper looks gray.
        totals: Sums for the statistics of each split.
        lengths: Bytes of each column of each split's pack.
    """

    FILE_NAME: ClassVar[str] = "journal.json"

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    made_for: str = ""
    label: NonNegativeInt = 0
    offset: NonNegativeInt = 0
    listed: NonNegativeInt = 0
    sources: list[str] = []
    first_skipped: list[NonNegativeInt] = []
    class_samples: NonNegativeInt = 0
    done: NonNegativeInt = 0
    skipped: list[Skipped] = []
    inverted: NonNegativeInt = 0
    gray: NonNegativeInt = 0
    totals: dict[str, Totals] = {}
    lengths: dict[str, dict[str, NonNegativeInt]] = {}

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """The journal in a folder: it says that all files there were written by a conversion."""
        path = folder / cls.FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            return None

    @classmethod
    def open(cls, partial: Path, fingerprint: str, made_for: str, source: Source, size: int) -> Journal:
        """The journal of an interrupted conversion with the same settings and files; else a new one.

        What is not, in every entry, what a conversion to images of `size` px can have left means starting over.
        """
        new = cls(fingerprint=fingerprint, made_for=made_for)
        path = partial / cls.FILE_NAME
        if not path.exists():
            return new
        journal = cls.read(partial)
        same = journal is not None and journal.fingerprint == fingerprint
        if journal is None or (same and not journal._consistent(len(source.class_names), size)):
            log.warning("%s is damaged: starting over", path)
        elif not same:
            log.info("%s was begun with other settings or another source: starting over", partial)
        elif changed := journal.changed_class(source):
            log.warning("%s: files of class '%s' have changed since: starting over", partial, changed)
        elif damage := journal._missing(partial, size):
            log.warning("%s is shorter than recorded: starting over", damage)
        else:
            if journal.done:
                log.info("continuing after %d samples", journal.done)
            return journal
        return new

    def save(self, partial: Path) -> None:
        """Write the journal, atomically."""
        atomic.write_text(partial / self.FILE_NAME, self.model_dump_json())

    def begin(self, label: int, state: str, classes: tuple[str, ...]) -> None:
        """Go on to a class whose files were in `state`, if it is not the one under way."""
        if label < len(self.sources):
            return
        if self.sources:
            self.finish_class(classes)
        self.label, self.class_samples = label, 0
        self.sources.append(state)
        self.first_skipped.append(len(self.skipped))

    def pass_by(self, offset: int, listed: int) -> None:
        """Note that the sample at `offset` of its class of `listed` samples is done, whatever came of it."""
        self.offset, self.listed = offset + 1, listed

    def count(self, split: str, samples: int, sums: npt.NDArray[np.uint64]) -> None:
        """Add `samples` images with the pixel sums uint64 [samples, 2] to a split's totals."""
        total = self.totals.setdefault(split, Totals())
        pixel_sum, square_sum = (int(value) for value in sums.sum(axis=0))
        self.totals[split] = Totals(
            samples=total.samples + samples, sum=total.sum + pixel_sum, squares=total.squares + square_sum
        )
        self.done += samples

    def finish_class(self, classes: tuple[str, ...]) -> None:
        """Make sure that the class that ends here has at least one image."""
        if self.class_samples == 0:
            raise DataError(
                f"class '{classes[self.label]}': none of its images can be read",
                hint=f"the last: {self.skipped[-1].id} ({self.skipped[-1].reason})" if self.skipped else None,
            )

    def skipped_by_class(self) -> list[int]:
        """How many samples of each class that was begun could not be decoded."""
        return [stop - start for start, stop in pairwise([*self.first_skipped, len(self.skipped)])]

    def changed_class(self, source: Source) -> str | None:
        """A class that is begun and whose files are not what they were; nothing is read for it but names and times."""
        named = enumerate(zip(source.class_names, self.sources, strict=False))
        return next((name for label, (name, state) in named if source.state(label) != state), None)

    def _consistent(self, classes: int, size: int) -> bool:
        """Whether all numbers go together, for images of `size` px."""
        totals = {split: self.totals.get(split, Totals()) for split in SPLITS}
        widths = {"images": size * size, "labels": 8, "ink": 2}
        return (
            self.label < classes
            and len(self.sources) == (self.label + 1 if self.offset else 0)
            and len(self.first_skipped) == len(self.sources)
            and min(self.skipped_by_class(), default=0) >= 0
            and self.class_samples <= self.offset <= self.listed
            and self.inverted + self.gray <= self.done
            and self.class_samples <= self.done == sum(total.samples for total in totals.values())
            and {*self.totals, *self.lengths} <= {*SPLITS}
            and all(total.sum <= 255 * total.samples * size * size for total in totals.values())
            and all(total.squares <= 255 * total.sum for total in totals.values())
            and (not self.done or self.lengths.keys() == totals.keys())
            and all(
                lengths.keys() == pack_names(split).keys()
                and all(lengths[column] == width * totals[split].samples for column, width in widths.items())
                for split, lengths in self.lengths.items()
            )
        )

    def _missing(self, partial: Path, size: int) -> Path | None:
        """A file that is shorter than the journal says, or not there; those of empty splits may be gone already."""
        for split, lengths in self.lengths.items():
            expected = {name: lengths[column] for column, name in pack_names(split).items()}
            left, most = expected.pop(column_name(split, "images")), images_per_file(size) * size**2
            for number in range(-(-left // most)):
                expected[column_name(split, "images", number)] = min(most, left - number * most)
            for name, length in expected.items():
                path = partial / name
                if length and (not path.is_file() or path.stat().st_size < length):
                    return path
        return None
