"""How far a conversion has come, on disk, so that the same command continues after a kill."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from fastsketch import atomic
from fastsketch.errors import DataError
from fastsketch.formats.metadata import Skipped
from fastsketch.sources import Source
from fastsketch.sources.sample import Sample

log = logging.getLogger(__name__)


class Totals(BaseModel):
    """Sums over a split's images: their number, their pixels, and the squares of their pixels."""

    samples: int = 0
    sum: int = 0
    squares: int = 0


class Journal(BaseModel):
    """How far the plan has been carried out, and everything needed to go on from there.

    Attributes:
        fingerprint: All settings that decide the resulting bytes.
        label: The class under way.
        offset: Samples of that class that are done.
        last: Id of the last sample done: if it is elsewhere now, the source has changed in the meantime.
        class_samples: Images of that class that could be decoded.
        done: Images written.
        skipped: Samples that could not be decoded.
        totals: Sums for the statistics of each split.
        lengths: Bytes of each column of each split's pack.
    """

    FILE_NAME: ClassVar[str] = "journal.json"

    fingerprint: str
    label: int = 0
    offset: int = 0
    last: str = ""
    class_samples: int = 0
    done: int = 0
    skipped: list[Skipped] = []
    totals: dict[str, Totals] = {}
    lengths: dict[str, dict[str, int]] = {}

    @classmethod
    def open(cls, partial: Path, fingerprint: str, source: Source) -> Journal:
        """The journal of an interrupted conversion with the same settings and files; else a new one."""
        path = partial / cls.FILE_NAME
        if not path.is_file():
            return cls(fingerprint=fingerprint)
        try:
            journal = cls.model_validate_json(path.read_bytes())
        except ValidationError:
            log.warning("%s is damaged: starting over", path)
            return cls(fingerprint=fingerprint)
        if journal.fingerprint == fingerprint and journal._fits(source):
            log.info("continuing after %d samples", journal.done)
            return journal
        log.info("%s was begun with other settings or other files: starting over", partial)
        return cls(fingerprint=fingerprint)

    def save(self, partial: Path) -> None:
        """Write the journal, atomically."""
        atomic.write_text(partial / self.FILE_NAME, self.model_dump_json())

    def begin(self, label: int, classes: tuple[str, ...]) -> None:
        """Go on to a class, if it is not the one under way."""
        if label != self.label:
            self.finish_class(classes)
            self.label, self.class_samples = label, 0

    def pass_by(self, sample: Sample, offset: int) -> None:
        """Note that the sample at `offset` of its class is done, whatever came of it."""
        self.offset, self.last = offset + 1, sample.id

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

    def _fits(self, source: Source) -> bool:
        samples = source.samples(self.label)
        return not self.offset or (len(samples) >= self.offset and samples[self.offset - 1].id == self.last)
