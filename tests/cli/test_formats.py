"""`fastsketch convert --format` and `fastsketch inspect`, in real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packs import write_pack
from PIL import Image

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def refused(result: subprocess.CompletedProcess[str], code: int) -> str:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    return " ".join(result.stderr.split())


def test_all_formats_in_one_pass_and_their_inspection(tmp_path: Path, shapes: Path, run_fastsketch: Call) -> None:
    pytest.importorskip("ffcv")
    data, sheet = tmp_path / "data", tmp_path / "sheet.png"
    converted = run_fastsketch("convert", shapes, data, "--size", 32, "--format", "all", "--workers", 1)
    assert converted.returncode == 0, converted.stderr
    assert {"train.beton", "train-00000.tar", "train-00000.idx", "train.images.u8"} <= {p.name for p in data.iterdir()}
    inspected = run_fastsketch("inspect", data, "--verify", "--sheet", sheet)
    assert inspected.returncode == 0, inspected.stderr
    for expected in ("60 images of 3 classes at 32 px", "pack, ffcv, dali", "every byte is as it was written", "48"):
        assert expected in inspected.stdout
    assert Image.open(sheet).size[0] > 500


def test_formats_can_be_added_to_a_data_set(tmp_path: Path, run_fastsketch: Call) -> None:
    write_pack(tmp_path / "data", {"train": 40, "val": 5})
    added = run_fastsketch("convert", tmp_path / "data", "--format", "dali")
    assert added.returncode == 0, added.stderr
    assert "train for dali" in added.stdout
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert list(record["splits"]["val"]["formats"]) == ["dali"]


def test_an_edited_file_is_found(tmp_path: Path, run_fastsketch: Call) -> None:
    write_pack(tmp_path / "data", {"train": 40})
    assert run_fastsketch("inspect", tmp_path / "data", "--verify").returncode == 0
    ink = tmp_path / "data" / "train.ink.u16"
    ink.write_bytes(ink.read_bytes()[:-1] + b"\x01")
    result = run_fastsketch("inspect", tmp_path / "data", "--verify")
    assert result.returncode == 1
    assert "train.ink.u16 is not as it was written" in " ".join(result.stderr.split())


def test_usage_errors(tmp_path: Path, shapes: Path, run_fastsketch: Call) -> None:
    data = tmp_path / "data"
    write_pack(data, {"train": 40})
    assert "no destination given" in refused(run_fastsketch("convert", shapes), 2)
    assert "is a data set already" in refused(run_fastsketch("convert", data), 2)
    assert "--format all" in refused(run_fastsketch("convert", data, tmp_path / "other"), 2)
    assert "format: " in refused(run_fastsketch("convert", shapes, tmp_path / "x", "--format", "webp"), 2)
    assert "not a converted data set" in refused(run_fastsketch("inspect", shapes), 2)
    assert "no 'val' split" in refused(run_fastsketch("inspect", data, "--sheet", "x.png", "--split", "val"), 2)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: text.replace('"format_version": 2', '"format_version": 7'), "has format version 7"),
        (lambda text: text.replace('"samples": 40', '"samples": 41'), "is not of 41 samples"),
        (lambda text: text.replace('"ant",\n    "bee"', '"bee",\n    "ant"'), "its checksum differs"),
    ],
    ids=["truncated", "another version", "contradictory", "classes exchanged"],
)
def test_a_damaged_description_is_a_clear_line(
    tmp_path: Path, run_fastsketch: Call, damage: Callable[[str], str], words: str
) -> None:
    write_pack(tmp_path / "data", {"train": 40})
    description = tmp_path / "data" / "dataset.json"
    description.write_text(damage(description.read_text()))
    assert words in refused(run_fastsketch("inspect", tmp_path / "data"), 1)
