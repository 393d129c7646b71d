from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packs import write_pack

from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.export import export
from fastsketch.formats.metadata import DatasetMetadata, FileRecord, Skipped, SourceRecord, SplitRecord

METADATA = DatasetMetadata(
    fastsketch="1.2.3",
    source=SourceRecord(kind="folder", split="48/9/23", seed=0),
    size=32,
    resize="bilinear",
    classes=["été", "a (b) c"],
    splits={
        "train": SplitRecord(
            samples=2,
            pixel_mean=0.9,
            pixel_std=0.1,
            files={"images": FileRecord(name="train.images.u8", bytes=2048, sha256="0" * 64)},
        )
    },
    skipped=[Skipped(id="été/1.png", reason="not an image")],
)


def altered(folder: Path, **changes: Any) -> Path:
    """Save METADATA to `folder` with top-level keys replaced; None removes a key."""
    METADATA.save(folder)
    record = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    record = {key: value for key, value in {**record, **changes}.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    METADATA.save(tmp_path)
    assert DatasetMetadata.load(tmp_path) == METADATA
    assert "été" in (tmp_path / "dataset.json").read_text(encoding="utf-8")


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a converted data set") as caught:
        DatasetMetadata.load(tmp_path)
    assert "fastsketch convert" in str(caught.value.hint)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing: no such folder"):
        DatasetMetadata.load(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"{}", b'"format_version"', b"\xff\xfe"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"dataset\.json is damaged"):
        DatasetMetadata.load(tmp_path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"damaged \(classes: "):
        DatasetMetadata.load(altered(tmp_path, classes=None))


def test_a_wrong_value_is_named(tmp_path: Path) -> None:
    files = {"images": {"name": "train.images.u8", "bytes": -1, "sha256": ""}}
    splits = {"train": {"samples": 1, "pixel_mean": 1, "pixel_std": 0, "files": files}}
    with pytest.raises(DataError, match=r"damaged \(splits.train.files.images.bytes: "):
        DatasetMetadata.load(altered(tmp_path, splits=splits))


def test_a_newer_version_says_so_whatever_else_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has format version 2, this fastsketch reads version 1"):
        DatasetMetadata.load(altered(tmp_path, format_version=2, classes=None, novelty=3))


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    assert METADATA.split("train").samples == 2
    with pytest.raises(ConfigError, match="no 'test' split") as caught:
        METADATA.split("test")
    assert "train" in str(caught.value.hint)


def test_joined_splits_have_the_pixels_of_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = {"train": rng.random(3000) ** 2, "val": 0.4 + rng.random(700) / 2}
    splits = {
        name: SplitRecord(samples=len(values), pixel_mean=values.mean(), pixel_std=values.std(), files={})
        for name, values in pixels.items()
    }
    joined = METADATA.model_copy(update={"splits": splits}).split("train+val")
    both = np.concatenate(list(pixels.values()))
    assert joined.samples == 3700
    assert (joined.pixel_mean, joined.pixel_std) == pytest.approx((both.mean(), both.std()))
    assert (joined.files, joined.formats) == ({}, {})


def test_joining_with_a_split_that_is_not_there_names_it() -> None:
    with pytest.raises(ConfigError, match="no 'val' split") as caught:
        METADATA.split("train+val")
    assert caught.value.hint == "it has: train"


def test_the_checksum_is_that_of_the_samples_alone(tmp_path: Path) -> None:
    metadata = write_pack(tmp_path / "a", {"train": 9, "val": 3})
    again = write_pack(tmp_path / "b", {"train": 9, "val": 3})
    assert len(metadata.checksum()) == 64
    assert again.checksum() == metadata.checksum()
    assert export(tmp_path / "b", again, ["dali"]).checksum() == metadata.checksum()
    assert again.model_copy(update={"splits": {"train": again.split("train")}}).checksum() != metadata.checksum()
    file = again.split("val").files["labels"].model_copy(update={"sha256": "0" * 64})
    val = again.split("val").model_copy(update={"files": {**again.split("val").files, "labels": file}})
    assert again.model_copy(update={"splits": {**again.splits, "val": val}}).checksum() != metadata.checksum()


def test_a_file_s_record(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc" * 1_000_000)  # longer than one block of reading
    record = FileRecord.of(path)
    assert record.name == "x.bin"
    assert record.bytes == 3_000_000
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
