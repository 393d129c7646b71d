from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from packs import write_pack

from fastsketch.errors import ConfigError, DataError
from fastsketch.formats import metadata as metadata_module
from fastsketch.formats.export import export
from fastsketch.formats.files import FileRecord
from fastsketch.formats.metadata import DatasetMetadata, Skipped, SourceRecord, SplitRecord


def record(name: str, length: int) -> FileRecord:
    return FileRecord(name=name, bytes=length, sha256="0" * 64, xxh3="0" * 32)


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
            files={
                "images": record("train.images.u8", 2048),
                "labels": record("train.labels.i64", 16),
                "ink": record("train.ink.u16", 4),
                "ids": record("train.ids.jsonl", 30),
            },
        )
    },
    skipped=[Skipped(id="été/1.png", reason="not an image")],
)


def altered(folder: Path, **changes: Any) -> Path:
    """METADATA in `folder` with other values at dotted keys, under a checksum that is right; None removes a key."""
    content = json.loads(METADATA._text())
    del content["checksum"]
    for dotted, value in changes.items():
        *stages, key = dotted.split(".")
        inner = content
        for stage in stages:
            inner = inner[stage]
        inner[key] = value
        if value is None:
            del inner[key]
    checksum = hashlib.sha256((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()).hexdigest()
    text = json.dumps({**content, "checksum": checksum}, indent=2, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path) -> str:
    """What is said of the damaged `dataset.json`: a line, and the remedy."""
    with pytest.raises(DataError) as caught:
        DatasetMetadata.load(folder)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < len(str(folder)) + 300
    assert caught.value.hint
    return caught.value.message


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


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"3", b"null", b"{}", b'"format_version"', b"\xff\xfe", b"\x00" * 9),
        *(b"[" * 10**5, b'{"a":' * 10**5, b'{"format_version": ' + b"9" * 10**5 + b"}", b'{"format_version": NaN}'),
        *(
            b'{"format_version": 1e999}',
            b'{"format_version": ' + b"9" * 5000 + b"}",
            b'{"format_version": true}',
            b'{"format_version": "2"}',
            b'{"\\ud800": 2}',
        ),
        b'{"format_version": 2, "a\\nb' + b"c" * 10**5 + b'": 1}',
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    """Low: `dataset.json` of 10^5 `[`, a version that is a string."""
    (tmp_path / "dataset.json").write_bytes(content)
    assert "dataset.json is damaged (" in refused(tmp_path)


def test_a_file_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    METADATA.save(tmp_path)
    length = (tmp_path / "dataset.json").stat().st_size
    monkeypatch.setattr(metadata_module, "LARGEST", length)
    assert DatasetMetadata.load(tmp_path) == METADATA
    monkeypatch.setattr(metadata_module, "LARGEST", length - 1)
    assert "it is larger than" in refused(tmp_path)
    with pytest.raises(DataError, match="1 samples could not be read, too many"):
        METADATA.save(tmp_path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Low: class names are under no checksum. Bits of every byte of the file, blanks and the checksum included."""
    METADATA.save(tmp_path)
    path = tmp_path / "dataset.json"
    original = path.read_bytes()
    for bit in range(0, 8 * len(original), 5):
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert "dataset.json" in refused(tmp_path)
    for changed in (original[:-1], original + b"\n", original.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + original):
        path.write_bytes(changed)
        assert "dataset.json is damaged" in refused(tmp_path)
    path.write_bytes(original)
    assert DatasetMetadata.load(tmp_path) == METADATA


def test_edited_class_names_are_noticed(tmp_path: Path) -> None:
    """Low: reversed names pass `--verify`."""
    METADATA.save(tmp_path)
    path = tmp_path / "dataset.json"
    names = '"été",\n    "a (b) c"'
    text = path.read_text(encoding="utf-8")
    assert names in text
    path.write_text(text.replace(names, '"a (b) c",\n    "été"'), encoding="utf-8")
    assert "its checksum differs" in refused(tmp_path)


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    METADATA.save(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"size": 32', '"size": 64,\n  "size": 32'))
    assert "its checksum differs" in refused(tmp_path)


TRAIN = METADATA.model_dump(mode="json")["splits"]["train"]
FILES = TRAIN["files"]
ELSEWHERE = ("../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "..", "", "train.labels.i64", "train.images.u8\n")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        *(("size", value, "size: ") for value in (0, 7, -32, 4097, 10**30, 32.5, "32", True)),
        *(("classes", value, "classes") for value in (None, [], [""], ["a", "a"], ["a", 1], "ab", [None, "b"])),
        *(("splits.train.samples", value, "samples") for value in (0, -2, 3, 1 << 70, 2.0, "2")),
        *(("splits.train.pixel_mean", value, "pixel_mean: ") for value in (-0.1, 1.1, "0.9")),
        *(("splits.train.pixel_std", value, "pixel_std: ") for value in (-0.1, 1.1)),
        *(("splits.train.pixel_std", value, "is damaged (") for value in (float("nan"), float("inf"))),
        *(("splits", value, "splits") for value in ({}, [], {"dev": TRAIN}, {"../../ESCAPED": TRAIN})),
        ("splits", {"val": TRAIN, "train": TRAIN}, "in this order"),
        ("splits", {"val": TRAIN}, "the files of 'val' are not those of a pack"),
        *(("splits.train.files.images.name", value, "files") for value in ELSEWHERE),
        *(("splits.train.files.images.bytes", value, "images") for value in (-1, 0, 2047, 1 << 64)),
        *(("splits.train.files.images.sha256", value, "sha256: ") for value in ("", "0" * 63, "G" * 64)),
        *(("splits.train.files.images.xxh3", value, "xxh3: ") for value in ("", "0" * 33, None)),
        ("splits.train.files.more", FILES["ids"], "not those of a pack"),
        *((f"splits.train.files.{column}", None, "not those of a pack") for column in FILES),
        ("splits.train.formats", {"zip": []}, "formats are ffcv and dali"),
        ("splits.train.formats", {"ffcv": []}, "the ffcv files of 'train'"),
        ("splits.train.formats", {"ffcv": [FILES["ids"]]}, "the ffcv files of 'train'"),
        ("splits.train.formats", {"dali": [{**FILES["ids"], "name": "train-00000.tar"}]}, "the dali files of 'train'"),
        ("splits.train.formats", {"ffcv": [{**FILES["ids"], "name": "../train.beton"}]}, "ffcv.0.name: "),
        ("novelty", 3, "novelty: "),
        ("skipped", [{"id": 3, "reason": ""}], "skipped.0.id: "),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, key: str, value: object, said: str) -> None:
    """H4, Low (size 0, no splits, negative std): under a checksum that is right, as somebody could make it."""
    assert said in refused(altered(tmp_path, **{key: value}))


def test_what_is_right_under_a_right_checksum_is_loaded(tmp_path: Path) -> None:
    assert DatasetMetadata.load(altered(tmp_path)) == METADATA
    assert DatasetMetadata.load(altered(tmp_path, size=32, classes=["x", "y"])).classes == ["x", "y"]


def test_another_version_says_so_whatever_else_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has format version 4, this fastsketch reads versions 2 and 3"):
        DatasetMetadata.load(altered(tmp_path, format_version=4, classes=None, novelty=3))


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
    for changes in ({"classes": again.classes[::-1]}, {"size": 32}):
        assert again.model_copy(update=changes).checksum() != metadata.checksum()


def test_a_file_s_record(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc" * 1_000_000)  # longer than one block of reading
    record = FileRecord.of(path)
    assert record.name == "x.bin"
    assert record.bytes == 3_000_000
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.xxh3 == xxhash.xxh3_128_hexdigest(path.read_bytes())


def test_what_is_no_regular_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    record = FileRecord.of(tmp_path / "x")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    record.model_copy(update={"name": "y"}).verify(tmp_path)  # a link to the file is as good
    (tmp_path / "x").unlink()
    for name, make, said in (
        ("x", os.mkfifo, "is no regular file"),
        ("folder", os.mkdir, "is no regular file"),
        ("gone", lambda path: path.symlink_to("nothing"), "is missing"),
        ("round", lambda path: path.symlink_to(path), "cannot be read"),
        ("null", lambda path: path.symlink_to("/dev/null"), "is no regular file"),
    ):
        make(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name} {said}"):
            record.model_copy(update={"name": name}).verify(tmp_path)
