"""One record an epoch: as JSON lines, as CSV, and wherever else the user wants it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fastsketch import atomic
from fastsketch.training.services import Service


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

    epoch: int
    step: int
    lr: float
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    val_top5: float | None
    seconds: float
    images_per_second: float


class Tracker:
    """Keeps `metrics.jsonl` and, beside it, `metrics.csv`, both whole after every epoch, and tells the services.

    A context manager: it closes the services.

    Args:
        path: `metrics.jsonl`.
        epochs: Go on after so many records of an earlier session; later ones are dropped.
        services: From `open_services`; they are begun here.
    """

    def __init__(self, path: Path, epochs: int = 0, services: Sequence[Service] = ()) -> None:
        self._path = path
        self._services = services
        self.records = read_records(path)[:epochs] if path.is_file() else []
        earlier = [asdict(record) for record in self.records]
        for service in services:
            service.begin(earlier)

    def add(self, record: EpochRecord) -> None:
        """Append a record, write both files and tell the services."""
        self.records.append(record)
        rows = [asdict(each) for each in self.records]
        atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        atomic.write_csv(self._path.with_suffix(".csv"), [field.name for field in fields(EpochRecord)], rows)
        for service in self._services:
            service.add(rows[-1])

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for service in self._services:
            service.close(failed=kind is not None)


def read_records(path: Path) -> list[EpochRecord]:
    """The records of a `metrics.jsonl`."""
    return [EpochRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def best_record(records: Iterable[EpochRecord]) -> EpochRecord | None:
    """The first record with the best validation top-1, in [0, 1]; None if no epoch was validated."""
    validated = (record for record in records if record.val_top1 is not None)
    return max(validated, key=lambda record: record.val_top1 or 0.0, default=None)
