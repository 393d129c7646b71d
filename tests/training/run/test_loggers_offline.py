"""`train` with TensorBoard and W&B, both themselves and offline: what they wrote is what the run's own metrics say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packs import write_pack

from fastsketch.training.run.metrics import EpochRecord, read_records

pytestmark = pytest.mark.slow

HEADER, BLOCK, RECORD = 7, 32 * 1024, 7
"""Bytes: of a `.wandb` file's own header, of a block of the log format that it takes from LevelDB, of a record's."""
FULL, FIRST, LAST = 1, 2, 4
"""Kinds of a record: whole, or a piece of a longer one."""

OWN = ("epoch", "step", "lr", "seconds", "images_per_second", "train/loss", "val/loss", "val/top1", "val/top5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs by the command, in a process of its own without a network; then a third, continuing them."""
    for module in ("tensorboard", "wandb"):
        pytest.importorskip(module)
    root = tmp_path_factory.mktemp("logged")
    write_pack(root / "data", {"train": 40, "val": 20}, 32)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "fastsketch", "train", "data", "--model", "test_resnet", "--device", "cpu"]
    command += ["--set", "data.batch_size=16", "--set", "training.loggers=[tensorboard,wandb]"]
    for epochs in (2, 3):
        result = subprocess.run(
            [*command, "--epochs", str(epochs), "--out", "run"],
            cwd=root,
            env={**kept, **nowhere, "HOME": str(root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "wandb:" not in result.stdout + result.stderr  # it says nothing of its own
        assert "continuing in epoch 3" in result.stderr or epochs == 2
    return root / "run"


@pytest.fixture(scope="module")
def records(run: Path) -> list[EpochRecord]:
    found = read_records(run / "metrics.jsonl")
    assert len(found) == 3
    return found


def values(record: EpochRecord) -> dict[str, Any]:
    """By the names that both loggers know it under."""
    return {name: getattr(record, name.replace("/", "_")) for name in OWN}


def test_tensorboard_reads_what_the_run_did(run: Path, records: list[EpochRecord]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(list((run / "tensorboard").glob("events.out.tfevents.*"))) == 2  # a session each
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(OWN) - {"epoch"}
    for tag in events.Tags()["scalars"]:
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert found == [(record.epoch, pytest.approx(values(record)[tag])) for record in records]
    [text] = {tag for tag in events.Tags()["tensors"] if tag.startswith("config")}
    assert b"name: test_resnet" in events.Tensors(text)[-1].tensor_proto.string_val[0]


def test_wandb_holds_the_whole_run_in_each_session(run: Path, records: list[EpochRecord]) -> None:
    folders = sorted((run / "wandb").glob("offline-run-*"))
    identifier = (run / "wandb/id").read_text().strip()
    assert [folder.name.rpartition("-")[2] for folder in folders] == [identifier] * 2
    for folder, epochs in zip(folders, (2, 3), strict=True):
        [file] = folder.glob("*.wandb")
        found = list(wandb_records(file))
        rows = [items(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
        assert [{name: row[name] for name in OWN} for row in rows] == [values(each) for each in records[:epochs]]
        assert [row["_step"] for row in rows] == list(range(1, epochs + 1))
        summary: dict[str, Any] = {}
        for record in found:
            if record.WhichOneof("record_type") == "summary":
                summary |= items(record.summary.update)
        assert {name: summary[name] for name in OWN} == values(records[epochs - 1])
        [began] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
        assert (began.run_id, began.project, began.display_name) == (identifier, "fastsketch", "run")
        assert items(began.config.update)["training"]["epochs"] == epochs
        [ended] = [record.exit for record in found if record.WhichOneof("record_type") == "exit"]
        assert ended.exit_code == 0


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file, in order: W&B's own reader of them is not in Python any more."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), HEADER, b""
    assert content.startswith(b":W&B")
    while at < len(content):
        if (left := BLOCK - at % BLOCK) < RECORD:
            at += left  # no record's header goes over the end of a block
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole = (b"" if kind in (FULL, FIRST) else whole) + content[at + RECORD : at + RECORD + length]
        at += RECORD + length
        if kind in (FULL, LAST):
            yield Record.FromString(whole)


def items(pairs: Any) -> dict[str, Any]:
    """W&B's pairs of keys and JSON."""
    return {"/".join(pair.nested_key) or pair.key: json.loads(pair.value_json) for pair in pairs}
