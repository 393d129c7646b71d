"""One record an epoch, as JSON lines and as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fastsketch import atomic


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: Counted from 1.
        lr: Learning rate at the epoch's last step.
        train_loss: Mean cross-entropy over the augmented training images.
        val_loss: Mean cross-entropy over the validation split.
        val_top1: Share of validation images whose class has the largest logit, in [0, 1].
        val_top5: Share whose class is among the five largest, in [0, 1].
        seconds: Time of the epoch's training and validation.
        images_per_second: Training images per second of training, validation not counted.
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    val_top5: float | None
    seconds: float
    images_per_second: float


class Tracker:
    """Keeps `metrics.jsonl` and, beside it, `metrics.csv`; both are whole after every epoch."""

    def __init__(self, path: Path, epochs: int = 0) -> None:
        """Go on after the first `epochs` records of an earlier run; later ones are dropped."""
        self._path = path
        self.records = read_records(path)[:epochs] if path.is_file() else []

    def add(self, record: EpochRecord) -> None:
        """Append a record and write both files."""
        self.records.append(record)
        rows = [asdict(each) for each in self.records]
        atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        table = io.StringIO()
        writer = csv.DictWriter(table, [field.name for field in fields(EpochRecord)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic.write_text(self._path.with_suffix(".csv"), table.getvalue())


def read_records(path: Path) -> list[EpochRecord]:
    """The records of a `metrics.jsonl`."""
    return [EpochRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
