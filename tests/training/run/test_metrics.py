from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fastsketch.training.run.metrics import EpochRecord, MetricLog, best_record, read_records


def record(epoch: int, top1: float | None = 0.5) -> EpochRecord:
    loss, top5 = (None, None) if top1 is None else (1.5, 0.9)
    return EpochRecord(epoch, epoch * 12, 1e-3, 2.0 / epoch, loss, top1, top5, 3.0, 640.0)


class Listener:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def begin(self, earlier: Any) -> None:
        self.calls.append(("begin", [row["epoch"] for row in earlier]))

    def add(self, row: Any) -> None:
        self.calls.append(("add", row["epoch"]))

    def close(self, *, failed: bool) -> None:
        self.calls.append(("close", failed))


def test_both_files_hold_every_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    for epoch in (1, 2, 3):
        log.add(record(epoch))
        assert read_records(path) == log.records == [record(each) for each in range(1, epoch + 1)]
        with (tmp_path / "metrics.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        assert [int(row["step"]) for row in rows] == [12 * each for each in range(1, epoch + 1)]
        assert float(rows[-1]["train_loss"]) == 2.0 / epoch


def test_what_was_not_validated_is_null_and_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricLog(path).add(record(1, None))
    row = json.loads(path.read_text())
    assert [row[key] for key in ("val_loss", "val_top1", "val_top5")] == [None] * 3
    assert read_records(path) == [record(1, None)]
    with (tmp_path / "metrics.csv").open(newline="") as table:
        [cells] = csv.DictReader(table)
    assert [cells[key] for key in ("val_loss", "val_top1", "val_top5")] == [""] * 3


def test_a_resumed_run_drops_the_epochs_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricLog(path)
    for epoch in (1, 2, 3):
        first.add(record(epoch))
    resumed = MetricLog(path, first.records[:2])
    assert [each.epoch for each in resumed.records] == [1, 2]
    resumed.add(record(3, 0.75))
    assert read_records(path) == [record(1), record(2), record(3, 0.75)]


def test_loggers_hear_of_everything(tmp_path: Path) -> None:
    path, listeners = tmp_path / "metrics.jsonl", (Listener(), Listener())
    with MetricLog(path, (), listeners[:1]) as log:
        log.add(record(1))
        log.add(record(2))
    with pytest.raises(KeyboardInterrupt), MetricLog(path, [record(1)], listeners[1:]) as log:  # noqa: PT012
        log.add(record(2))
        raise KeyboardInterrupt
    assert listeners[0].calls == [("begin", []), ("add", 1), ("add", 2), ("close", False)]
    assert listeners[1].calls == [("begin", [1]), ("add", 2), ("close", True)]


def test_the_best_record_is_the_first_of_the_best() -> None:
    records = [record(1, 0.2), record(2, 0.6), record(3, 0.6), record(4, None)]
    assert best_record(records) == records[1]
    assert best_record([record(1, 0.0)]) == record(1, 0.0)
    assert best_record([record(1, None)]) is None
    assert best_record([]) is None
