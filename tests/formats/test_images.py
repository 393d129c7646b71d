"""Images in several files, read as the array that they would be in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packs import write_pack

from fastsketch.errors import DataError
from fastsketch.formats import names
from fastsketch.formats.images import ImageFiles
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit, open_split

COUNT, SIZE = 23, 8


@pytest.fixture(params=[1, 4, 5, 23, 22, 12])
def per_file(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 1, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture
def files(array: np.ndarray, per_file: int) -> ImageFiles:
    return ImageFiles([array[start : start + per_file] for start in range(0, COUNT, per_file)])


def test_every_row_and_every_slice_are_those_of_one_array(array: np.ndarray, files: ImageFiles) -> None:
    assert files.shape == array.shape
    assert len(files) == COUNT
    for row in range(-COUNT, COUNT):
        np.testing.assert_array_equal(files[row], array[row])
        np.testing.assert_array_equal(files[row, 0], array[row, 0])
    for start in range(COUNT + 1):
        for stop in range(COUNT + 2):
            np.testing.assert_array_equal(files[start:stop], array[start:stop])
    np.testing.assert_array_equal(files[:, 0], array[:, 0])
    np.testing.assert_array_equal(np.stack(list(files)), array)
    np.testing.assert_array_equal(np.asarray(files), array)
    for outside in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            files[outside]


def test_rows_in_any_order_and_masks(array: np.ndarray, files: ImageFiles) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        rows = rng.integers(-COUNT, COUNT, rng.integers(0, 40))
        np.testing.assert_array_equal(files[rows], array[rows])
        np.testing.assert_array_equal(files[rows, 0], array[rows, 0])
        taken = np.empty((len(rows), 1, SIZE, SIZE), np.uint8)
        files.take(rows % COUNT, taken)
        np.testing.assert_array_equal(taken, array[rows])
    mask = rng.random(COUNT) < 0.5
    np.testing.assert_array_equal(files[mask], array[mask])


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PackSplit, PackSplit]:
    """The same split in one file and in four."""
    whole = PackSplit(tmp_path / "one", write_pack(tmp_path / "one", {"train": COUNT, "val": 5}, SIZE), "train")
    monkeypatch.setattr(names, "IMAGE_FILE_BYTES", 6 * SIZE**2)
    write_pack(tmp_path / "four", {"train": COUNT, "val": 5}, SIZE)
    return whole, PackSplit(tmp_path / "four", DatasetMetadata.load(tmp_path / "four"), "train")


def test_a_split_of_several_files_is_the_split_of_one(several: tuple[PackSplit, PackSplit], tmp_path: Path) -> None:
    one, four = several
    assert four.image_names == [
        "train.images.u8",
        "train.images-00001.u8",
        "train.images-00002.u8",
        "train.images-00003.u8",
    ]
    assert isinstance(four.images, ImageFiles)
    np.testing.assert_array_equal(four.images, one.images)
    read = np.empty(one.images.shape, np.uint8)
    four.read(read)
    np.testing.assert_array_equal(read, one.images)
    four.release()
    indices = np.random.default_rng(2).permutation(COUNT)[:9]
    pairs = [(np.empty((9, 1, SIZE, SIZE), np.uint8), np.empty(9, np.int64)) for _ in range(3)]
    joined = open_split(tmp_path / "four", DatasetMetadata.load(tmp_path / "four"), "train+val")
    for split, (images, labels) in zip((one, four, joined), pairs, strict=True):
        split.take(indices, images, labels)
        np.testing.assert_array_equal(images, one.images[indices])
        np.testing.assert_array_equal(labels, one.labels[indices])


def test_a_data_set_says_version_3_only_if_it_needs_it(several: tuple[PackSplit, PackSplit], tmp_path: Path) -> None:
    assert DatasetMetadata.load(tmp_path / "one").format_version == 2
    assert DatasetMetadata.load(tmp_path / "four").format_version == 3
    text = (tmp_path / "four/dataset.json").read_text()
    (tmp_path / "four/dataset.json").write_text(text.replace('"format_version": 3', '"format_version": 2'))
    with pytest.raises(DataError, match="its format version is not that of what it records"):
        DatasetMetadata.load(tmp_path / "four")


def test_damage_in_any_of_the_files_is_found(several: tuple[PackSplit, PackSplit]) -> None:
    _, four = several
    read = np.empty(four.images.shape, np.uint8)
    folder = Path(four.images.files[0].filename).parent
    for name in four.image_names:
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{name} is not as it was written"):
            four.read(read)
        path.write_bytes(whole)
        path.rename(path.with_suffix(".gone"))
        with pytest.raises(DataError, match=f"{name} is missing"):
            PackSplit(folder, DatasetMetadata.load(folder), "train")
        path.with_suffix(".gone").rename(path)
    four.read(read)
