"""What is damaged reaches no step: by each loader on opening, or by the verifier beside it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from flips import flipped, spread_bits
from packs import skip_without_library, write_formats_at_hand

from fastsketch.errors import DataError
from fastsketch.formats.files import FileRecord
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Loader, Sampling, open_loader

CPU = torch.device("cpu")
FILES = {
    "resident": ("train.images.u8",),
    "pack": ("train.images.u8",),
    "ffcv": ("train.beton",),
    "dali": ("train-00000.tar", "train-00000.idx"),
}
SMALL = ("train.labels.i64", "train.ink.u16", "train.ids.jsonl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "data"
    write_formats_at_hand(folder, {"train": 60, "val": 20})
    return folder


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    skip_without_library(request.param)
    return request.param


def opened(data: Path, name: str, split: str = "train", *, verify: bool = True) -> Loader:
    return open_loader(data, DatasetMetadata.load(data), split, Sampling(8), CPU, name=name, verify=verify)


def learn(data: Path, name: str, split: str = "train") -> None:
    """An epoch with everything verified, as in training."""
    loader, metadata = opened(data, name, split), DatasetMetadata.load(data)
    with Verifier(data, metadata.splits.values(), loader.verified) as verifier:
        for batch in loader.epoch():
            assert 0 <= batch.labels.min() <= batch.labels.max() < len(metadata.classes)
            assert 0 <= batch.indices.min() <= batch.indices.max() < loader.samples
        verifier.conclude()


def test_flipped_bits_are_named_in_every_file(data: Path, name: str) -> None:
    """Low: a flipped pixel, id, ink count or label byte is trained on silently. M12: `.beton` and tars as well."""
    learn(data, name)
    for file, bit in spread_bits(data, 15 if name == "ffcv" else 90, seed=0):  # FFCV compiles for every loader
        with flipped(data / file, bit), pytest.raises(DataError, match=file.replace(".", r"\.")) as caught:
            learn(data, name)
        assert "\n" not in caught.value.message
        assert caught.value.hint
    learn(data, name)


def test_the_small_columns_are_compared_in_any_case(data: Path, name: str) -> None:
    for file in SMALL:
        for bit in range(3, 8 * (data / file).stat().st_size, 97):
            with flipped(data / file, bit), pytest.raises(DataError, match=rf"{file} is not as it was written"):
                opened(data, name, verify=False)


def test_pixels_are_taken_as_they_are_when_told_to(data: Path, name: str) -> None:
    with flipped(data / FILES[name][0], 8 * ((data / FILES[name][0]).stat().st_size // 2)):
        for batch in opened(data, name, verify=False).epoch():
            assert len(batch.images)


def test_what_is_read_whole_is_not_read_again(data: Path) -> None:
    assert opened(data, "resident").verified == {"train.images.u8"}
    assert opened(data, "resident", "train+val").verified == {"train.images.u8", "val.images.u8"}
    assert opened(data, "resident", verify=False).verified == opened(data, "pack").verified == set()


def test_each_part_of_joined_splits_is_compared(data: Path) -> None:
    for file in ("train.images.u8", "val.images.u8"):
        for position in (0, -1):
            bit = 8 * (position % (data / file).stat().st_size)
            with flipped(data / file, bit), pytest.raises(DataError, match=f"{file} is not as it was written"):
                opened(data, "resident", "train+val")


# ------------------------------------------------------------------------------------- what a library would believe


def forged(data: Path, folder: Path, file: str, change: Callable[[bytearray], None]) -> Path:
    """A copy of the data set with a file changed, recorded as it is then: nothing but sense speaks against it."""
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((data / file).read_bytes())
    change(content)
    (folder / file).write_bytes(content)

    metadata = DatasetMetadata.load(data)
    described = metadata.model_dump(mode="json")
    for split in described["splits"].values():
        for record in (*split["files"].values(), *(each for files in split["formats"].values() for each in files)):
            if record["name"] == file:
                record.update(json.loads(FileRecord.of(folder / file).model_dump_json()))
    DatasetMetadata.model_validate(described).save(folder)
    return folder


def put(at: int, *numbers: int, width: int = 8) -> Callable[[bytearray], None]:
    """Little-endian numbers in a file's bytes."""

    def change(content: bytearray) -> None:
        for place, number in enumerate(numbers):
            start = at % len(content) + place * width
            content[start : start + width] = number.to_bytes(width, "little", signed=number < 0)

    return change


@pytest.mark.parametrize("bit", range(0, 40 * 8, 7))
def test_a_beton_with_another_header_is_not_believed(data: Path, tmp_path: Path, bit: int) -> None:
    """M12: tracebacks, and an allocation of 96 GiB: its first 40 bytes say how many fields, samples and bytes."""
    skip_without_library("ffcv")

    def change(content: bytearray) -> None:
        content[bit // 8] ^= 1 << bit % 8

    folder = forged(data, tmp_path / "data", "train.beton", change)
    with pytest.raises(DataError, match=r"train\.beton is not as it was written"):
        opened(folder, "ffcv", verify=False)


@pytest.mark.parametrize(
    ("at", "number"),
    [(place, number) for place in (600, 700, 1000, 2000, -8, -16, -24, -600) for number in (-1, 999, 1 << 40)],
)
def test_a_beton_with_other_tables_is_not_believed(data: Path, tmp_path: Path, at: int, number: int) -> None:
    """M12: label 999 or −1 reaches the step; addresses outside the file."""
    skip_without_library("ffcv")
    folder = forged(data, tmp_path / "data", "train.beton", put(at, number))
    with pytest.raises(DataError, match=r"train\.beton is not as it was written"):
        opened(folder, "ffcv", verify=False)


@pytest.mark.parametrize("label", [-1, 999, 1 << 62])
def test_labels_and_places_in_tars_never_leave_their_range(data: Path, tmp_path: Path, label: int) -> None:
    """M12: a device assert on a GPU. The pack's labels are verified, those in the tars are not looked at."""
    skip_without_library("dali")
    sample = 512 + 1024 + 512 + 512  # two headers, the image and the target of each
    folder = forged(data, tmp_path / "data", "train-00000.tar", put(2 * sample - 512, label, label))
    labels = torch.from_numpy(PackSplit(data, DatasetMetadata.load(data), "train").labels)
    odd = 0
    for batch in opened(folder, "dali", verify=False).epoch():
        assert 0 <= batch.indices.min() <= batch.indices.max() < 60
        assert torch.equal(batch.labels, labels[batch.indices])
        odd += int((batch.indices == (0 if label < 0 else 59)).sum())
    assert odd == 2


@pytest.mark.parametrize(
    "change",
    [
        put(0, 0),
        put(5, ord("9"), width=1),
        put(40, ord("7"), width=1),
        put(-3, ord("x"), width=1),
        lambda content: content.clear(),
        lambda content: content.extend(b"\n"),
        lambda content: content.__delitem__(slice(-90, None)),
    ],
)
def test_an_index_that_is_not_that_of_its_tar_is_not_believed(
    data: Path, tmp_path: Path, change: Callable[[bytearray], None]
) -> None:
    """M12: DALI reads where the index points to."""
    skip_without_library("dali")
    folder = forged(data, tmp_path / "data", "train-00000.idx", change)
    with pytest.raises(DataError, match=r"train-00000\.idx is not as it was written"):
        opened(folder, "dali", verify=False)


@pytest.mark.parametrize("change", [lambda c: c.extend(bytes(10240)), lambda c: c.__delitem__(slice(10240, None))])
def test_a_tar_of_another_length_is_not_believed(
    data: Path, tmp_path: Path, change: Callable[[bytearray], None]
) -> None:
    """M12: its index points behind its end."""
    skip_without_library("dali")
    folder = forged(data, tmp_path / "data", "train-00000.tar", change)
    with pytest.raises(DataError, match=r"train-00000\.tar is not of 60 samples"):
        opened(folder, "dali", verify=False)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("train.labels.i64", put(80, 999), "does not hold 60 values from 0 to 4"),
        ("train.labels.i64", put(80, -1), "does not hold 60 values from 0 to 4"),
        ("train.ink.u16", put(8, 5, width=2), "does not hold 60 values from 0 to 4"),
        ("train.ids.jsonl", lambda content: content.replace(b"\n", b" ", 1), None),
        ("train.ids.jsonl", lambda content: content.__setitem__(content.index(b"\n"), 32), "has 59 ids of 60 samples"),
        ("train.ids.jsonl", lambda content: content.extend(b'"more"\n'), "has 61 ids of 60 samples"),
    ],
)
def test_columns_that_make_no_sense(
    data: Path, tmp_path: Path, file: str, change: Callable[[bytearray], None], said: str | None
) -> None:
    folder = forged(data, tmp_path / "data", file, change)
    if said is None:  # nothing changed
        opened(folder, "resident")
        return
    with pytest.raises(DataError, match=f"{file} {said}"):
        opened(folder, "resident", verify=False)


@pytest.mark.parametrize("line", [b'"a', b"3", b"[" * 99, b"\xff", b'"\\ud800"', b"nul"])
def test_ids_that_are_none(data: Path, tmp_path: Path, line: bytes) -> None:
    def change(content: bytearray) -> None:
        content[: content.index(b"\n")] = line

    folder = forged(data, tmp_path / "data", "train.ids.jsonl", change)
    split = PackSplit(folder, DatasetMetadata.load(folder), "train")
    if line == b'"\\ud800"':  # valid JSON
        assert len(split.ids()) == 60
        return
    with pytest.raises(DataError, match=r"train\.ids\.jsonl"):
        split.ids()


# ---------------------------------------------------------------------------------------------------- the verifier


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "verifier"]


@pytest.mark.usefixtures("no_thread_stays")
def test_the_verifier_stops_at_once(tmp_path: Path) -> None:
    """A run that is stopped in its first epoch does not wait for gigabytes to be read."""
    metadata = write_formats_at_hand(tmp_path / "data", {"train": 60})
    with (tmp_path / "data" / "train.images.u8").open("r+b") as file:
        file.truncate(1 << 40)  # a hole, an hour of reading
    images = metadata.splits["train"].files["images"].model_copy(update={"bytes": 1 << 40})
    record = metadata.splits["train"].model_copy(update={"files": {"images": images}, "formats": {}})
    with Verifier(tmp_path / "data", [record]) as verifier:
        assert not verifier.finished(0.01)
    assert verifier.finished()
    assert verifier.damage is None


@pytest.mark.usefixtures("no_thread_stays")
def test_the_verifier_names_what_cannot_be_read(tmp_path: Path) -> None:
    metadata = write_formats_at_hand(tmp_path / "data", {"train": 60})
    path = tmp_path / "data" / "train.ink.u16"
    path.unlink()
    for make, said in ((lambda: None, "is missing"), (lambda: os.mkfifo(path), "is no regular file")):
        make()
        with (
            Verifier(tmp_path / "data", metadata.splits.values()) as verifier,
            pytest.raises(DataError, match=rf"train\.ink\.u16 {said}"),
        ):
            verifier.conclude()


def test_reading_into_a_tensor_reads_what_is_there(data: Path) -> None:
    split = PackSplit(data, DatasetMetadata.load(data), "train")
    images = np.zeros((62, 1, 24, 24), np.uint8)
    split.read(images[1:61])
    np.testing.assert_array_equal(images[1:61], split.images)
    assert not images[[0, 61]].any()
