"""One record an epoch: as JSON lines, as CSV, and wherever else the user wants it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fastsketch import atomic
from fastsketch.errors import DataError
from fastsketch.training.run.loggers import Logger
from fastsketch.training.run.saving import saving

log = logging.getLogger(__name__)

Counted = Annotated[int, Field(strict=True, ge=1)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: Counted from 1.
        step: Optimisation steps since the training began.
        lr: Learning rate at the epoch's last step.
        train_loss: Mean cross-entropy over the augmented training images.
        val_loss: Mean cross-entropy over the validation split; None, as the next two, without validation.
        val_top1: Share of validation images whose class has the largest logit, in [0, 1].
        val_top5: Share whose class is among the five largest, in [0, 1].
        seconds: Time of the epoch's training and validation.
        images_per_second: Training images per second of training, validation not counted.
    """

    epoch: Counted
    step: Counted
    lr: NotNegative
    train_loss: Finite
    val_loss: Finite | None
    val_top1: Share | None
    val_top5: Share | None
    seconds: NotNegative
    images_per_second: NotNegative


_RECORDS = TypeAdapter(list[EpochRecord])


class MetricLog:
    """Keeps `metrics.jsonl` and, beside it, `metrics.csv`, both whole after every epoch, and tells the loggers.

    A context manager: it closes the loggers.

    Args:
        path: `metrics.jsonl`.
        earlier: Records of earlier sessions, as `resume.pt` keeps them: they are what counts.
        loggers: From `open_loggers`; they are begun here.
    """

    def __init__(self, path: Path, earlier: Sequence[EpochRecord] = (), loggers: Sequence[Logger] = ()) -> None:
        self._path = path
        self._loggers = loggers
        self.records = list(earlier)
        for logger in loggers:
            logger.begin([asdict(record) for record in self.records])

    def mend(self) -> None:
        """Write both files anew where they were damaged, shortened or lost; what they hold beyond is done again."""
        try:
            found = read_records(self._path)
        except DataError:
            found = []
        if found[: len(self.records)] != self.records:
            log.warning("%s did not hold what the run has done, and is written anew from resume.pt", self._path)
        if self.records and (found != self.records or not self._path.with_suffix(".csv").is_file()):
            self._write()

    def add(self, record: EpochRecord) -> None:
        """Append a record, write both files and tell the loggers."""
        self.records.append(record)
        self._write()
        for logger in self._loggers:
            logger.add(asdict(record))

    def _write(self) -> None:
        rows = [asdict(each) for each in self.records]
        with saving(self._path):
            atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        table = self._path.with_suffix(".csv")
        with saving(table):
            atomic.write_csv(table, [field.name for field in fields(EpochRecord)], rows)

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for logger in self._loggers:
            logger.close(failed=kind is not None)


def read_records(path: Path) -> list[EpochRecord]:
    """The records of a `metrics.jsonl`.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        return checked_records([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged: {str(error).splitlines()[0]}",
            hint="calling the run's command again writes it anew from resume.pt",
        ) from error


def checked_records(rows: object) -> list[EpochRecord]:
    """Records from what a file holds of them: of the epochs 1 to n in order, with finite losses and shares in [0, 1].

    Raises:
        ValueError: They are not, with the first reason.
    """
    try:
        records = _RECORDS.validate_python(rows)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"record {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if [record.epoch for record in records] != list(range(1, len(records) + 1)):
        raise ValueError("its epochs do not follow each other")
    return records


def best_record(records: Iterable[EpochRecord]) -> EpochRecord | None:
    """The first record with the best validation top-1, in [0, 1]; None if no epoch was validated."""
    validated = (record for record in records if record.val_top1 is not None)
    return max(validated, key=lambda record: record.val_top1 or 0.0, default=None)
