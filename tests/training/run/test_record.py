from __future__ import annotations

import json
import logging
import math
import re
import shlex
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from packs import write_pack

from fastsketch.environment import environment
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.run.record import resumed_epochs, write_record


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetMetadata:
    return write_pack(tmp_path / "data", {"train": 9, "val": 3})


def test_every_session_is_added(tmp_path: Path, dataset: DatasetMetadata, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "fastsketch", "train", "my data"])
    write_record(path, dataset, device="cpu", precision="float32", compile="off")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "fastsketch", "train", "--resume", "run"])
    write_record(path, dataset, device="cuda:0", precision="float16", compile="default")

    first, second = json.loads(path.read_text())["sessions"]
    assert shlex.split(first["command"]) == ["python", "-m", "fastsketch", "train", "my data"]
    assert first["resolved"] == {"device": "cpu", "precision": "float32", "compile": "off"}
    assert second["resolved"]["device"] == "cuda:0"
    assert "--resume" in second["command"]
    started = datetime.fromisoformat(first["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - started) < timedelta(minutes=5)
    assert first["dataset_sha256"] == dataset.checksum()
    assert first["environment"] == {key: value for key, value in environment().items() if key != "date"}
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|None", str(first["commit"]))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sessions": 3}'])
def test_a_damaged_record_does_not_stop_the_training(
    tmp_path: Path, dataset: DatasetMetadata, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        write_record(path, dataset, device="cpu")
    assert "run.json cannot be read" in caplog.text
    assert len(json.loads(path.read_text())["sessions"]) == 1


def test_where_a_run_was_resumed(tmp_path: Path, dataset: DatasetMetadata) -> None:
    path = tmp_path / "run.json"
    assert resumed_epochs(path) == []
    for done in (0, 0, 1.5, 1.5, 4):  # twice nothing came of a session
        write_record(path, dataset, epochs_done=done)
    assert resumed_epochs(path) == [1.5, 4]
    record = json.loads(path.read_text())
    record["sessions"] += [3, {}, *({"epochs_done": each} for each in ("2", None, -1, math.nan, math.inf, [3]))]
    path.write_text(json.dumps(record))
    assert resumed_epochs(path) == [1.5, 4]
