from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from packs import write_pack

from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.metadata import DatasetMetadata, SourceRecord, SplitRecord
from fastsketch.formats.names import COLUMNS
from fastsketch.formats.pack import JoinedSplit, PackSplit, PackWriter, open_split
from fastsketch.ink import INK_THRESHOLD, PATCH, count_ink_patches

SIZE = 24
IDS = ["a/1.png", 'a/quo"te.png', "é (b)/日本.png", "a/line\nbreak.png", "b/ .png"]


def images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE), np.uint8)


def write(folder: Path, chunks: Iterable[slice], split: str = "train") -> DatasetMetadata:
    """Write five samples, appended chunk by chunk."""
    pixels, labels = images(5), [0, 0, 1, 1, 2]
    with PackWriter(folder, split, SIZE) as writer:
        for chunk in chunks:
            ink = count_ink_patches(pixels[chunk])
            writer.append(pixels[chunk], labels[chunk], ink, IDS[chunk])
        files = writer.finish()
    metadata = DatasetMetadata(
        fastsketch="0",
        source=SourceRecord(kind="folder", split=None, seed=None),
        size=SIZE,
        resize="bilinear",
        classes=["a", "b", "c"],
        splits={split: SplitRecord(samples=5, pixel_mean=0.5, pixel_std=0.5, files=files)},
        skipped=[],
    )
    metadata.save(folder)
    return metadata


ALL = (slice(0, 5),)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -------------------------------------------------------------------------------------------------- round trip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    split = PackSplit(tmp_path, write(tmp_path, ALL), "train")
    assert len(split) == 5
    assert split.images.shape == (5, 1, SIZE, SIZE)
    assert split.images.dtype == np.uint8
    np.testing.assert_array_equal(split.images[:, 0], images(5))
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == [0, 0, 1, 1, 2]
    assert split.ink.dtype == np.uint16
    np.testing.assert_array_equal(split.ink, count_ink_patches(images(5)))
    assert split.ids() == IDS


def test_the_chunks_of_writing_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    write(tmp_path / "one", ALL)
    write(tmp_path / "many", (slice(0, 1), slice(1, 1), slice(1, 4), slice(4, 5)))
    assert content(tmp_path / "one") == content(tmp_path / "many")


def test_rows_chosen_out_of_order_are_written_in_that_order(tmp_path: Path) -> None:
    pixels = images(5)[::-1][[3, 1]]  # neither contiguous nor in order
    with PackWriter(tmp_path, "val", SIZE) as writer:
        writer.append(pixels, [0, 1], np.zeros(2, np.uint16), ["x", "y"])
        writer.finish()
    assert (tmp_path / "val.images.u8").read_bytes() == pixels.tobytes()


def test_images_cannot_be_written_to_by_accident(tmp_path: Path) -> None:
    split = PackSplit(tmp_path, write(tmp_path, ALL), "train")
    with pytest.raises(ValueError, match="read-only"):
        split.images[0, 0, 0, 0] = 0


def test_going_back_to_a_synced_length_undoes_what_came_after(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    (tmp_path / "again").mkdir()
    write(tmp_path / "straight", ALL)
    with PackWriter(tmp_path / "again", "train", SIZE) as writer:
        writer.append(images(5)[:2], [0, 0], count_ink_patches(images(5)[:2]), IDS[:2])
        lengths = writer.sync()
        writer.append(images(3, seed=1), [7, 8, 9], np.zeros(3, np.uint16), ["lost"] * 3)
    # Another process, later.
    with PackWriter(tmp_path / "again", "train", SIZE) as writer:
        writer.rewind(lengths)
        writer.append(images(5)[2:], [1, 1, 2], count_ink_patches(images(5)[2:]), IDS[2:])
        writer.finish()
    straight = content(tmp_path / "straight")
    straight.pop("dataset.json")
    assert content(tmp_path / "again") == straight


def test_a_file_that_lost_its_end_cannot_be_continued(tmp_path: Path) -> None:
    with PackWriter(tmp_path, "train", SIZE) as writer:
        writer.append(images(2), [0, 0], np.zeros(2, np.uint16), ["a", "b"])
        lengths = writer.sync()
    (tmp_path / "train.labels.i64").write_bytes(b"")
    with (
        PackWriter(tmp_path, "train", SIZE) as writer,
        pytest.raises(DataError, match=r"train\.labels\.i64 is shorter than recorded") as caught,
    ):
        writer.rewind(lengths)
    assert f"delete {tmp_path}" in str(caught.value.hint)


def test_an_empty_split_leaves_no_files(tmp_path: Path) -> None:
    with PackWriter(tmp_path, "test", SIZE) as writer:
        writer.discard()
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_file(tmp_path: Path, column: str) -> None:
    metadata = write(tmp_path, ALL)
    (tmp_path / f"train.{COLUMNS[column]}").unlink()
    with pytest.raises(DataError, match=rf"train\.{COLUMNS[column]} is missing") as caught:
        PackSplit(tmp_path, metadata, "train")
    assert caught.value.hint == "convert the data set again"


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length(tmp_path: Path, column: str, change: int) -> None:
    metadata = write(tmp_path, ALL)
    path = tmp_path / f"train.{COLUMNS[column]}"
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change < 0 else data + b"\0")
    with pytest.raises(DataError, match=rf"has {len(data) + change:,} bytes instead of {len(data):,}"):
        PackSplit(tmp_path, metadata, "train")


@pytest.fixture(scope="module")
def three_splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[JoinedSplit, list[PackSplit]]:
    folder, names = tmp_path_factory.mktemp("joined") / "data", ("train", "val", "test")
    metadata = write_pack(folder, dict(zip(names, (6, 4, 1), strict=True)), size=8)
    joined = open_split(folder, metadata, "+".join(names))
    assert isinstance(joined, JoinedSplit)
    return joined, [PackSplit(folder, metadata, name) for name in names]


@given(st.lists(st.integers(0, 10), max_size=12), st.integers(0, 3))
def test_what_is_taken_is_what_lies_there(
    three_splits: tuple[JoinedSplit, list[PackSplit]], indices: list[int], cut: int
) -> None:
    joined, packs = three_splits
    pixels = np.concatenate([pack.images for pack in packs])
    labels = np.concatenate([pack.labels for pack in packs])
    assert (len(joined), joined.image_shape) == (11, (1, 8, 8))
    for split, there in ((joined, range(11)), (packs[1], range(6, 10))):
        wanted = np.array([index for index in indices if index in there], np.int64)
        # Into a part of larger arrays, as loaders do with their buffers.
        taken = np.full((len(wanted) + cut, 1, 8, 8), 77, np.uint8), np.full(len(wanted) + cut, -1)
        split.take(wanted - there[0], taken[0][cut:], taken[1][cut:])
        np.testing.assert_array_equal(taken[0][cut:], pixels[wanted])
        np.testing.assert_array_equal(taken[1][cut:], labels[wanted])
        assert (taken[0][:cut] == 77).all()
        assert (taken[1][:cut] == -1).all()


def test_a_single_name_opens_a_pack(tmp_path: Path) -> None:
    assert isinstance(open_split(tmp_path, write(tmp_path, ALL), "train"), PackSplit)
    with pytest.raises(ConfigError, match="no 'val' split"):
        open_split(tmp_path, DatasetMetadata.load(tmp_path), "train+val")


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no 'val' split"):
        PackSplit(tmp_path, write(tmp_path, ALL), "val")


# --------------------------------------------------------------------------------------------------- ink counts


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(0, 3), st.integers(1, 50)).map(lambda shape: (shape[0], shape[1], shape[1])),
        elements=st.sampled_from([0, INK_THRESHOLD - 1, INK_THRESHOLD, 255]),
        fill=st.just(255),
    )
)
def test_ink_patches_are_those_of_a_naive_loop(pixels: npt.NDArray[np.uint8]) -> None:
    size = pixels.shape[1]
    naive = [
        sum(
            any(
                image[y, x] < INK_THRESHOLD
                for y in range(top, min(top + PATCH, size))
                for x in range(left, min(left + PATCH, size))
            )
            for top in range(0, size, PATCH)
            for left in range(0, size, PATCH)
        )
        for image in pixels
    ]
    found = count_ink_patches(pixels)
    assert found.dtype == np.uint16
    assert found.tolist() == naive


def test_blank_paper_has_no_ink_and_a_full_image_all() -> None:
    assert count_ink_patches(np.full((1, 224, 224), 255, np.uint8)).tolist() == [0]
    assert count_ink_patches(np.zeros((1, 224, 224), np.uint8)).tolist() == [196]


def test_the_largest_image_s_patches_can_be_counted() -> None:
    # 4096 px are 65,536 patches, one more than uint16 holds.
    assert count_ink_patches(np.zeros((1, 4096, 4096), np.uint8)).tolist() == [65535]
