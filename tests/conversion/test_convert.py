from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converting import CONFIG, SIZE, changed, content

from fastsketch.conversion import convert_dataset
from fastsketch.conversion.decode import Reading, decode
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit, PackWriter
from fastsketch.ink import count_ink_patches
from fastsketch.sources import open_source
from fastsketch.sources.sample import ImageSample

# ------------------------------------------------------------------------------------------------- what comes out


def test_a_data_set_holds_every_image_once_decoded_labelled_and_split(shapes: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)

    assert DatasetMetadata.load(tmp_path / "out") == metadata
    assert metadata.classes == ["circle", "cross", "square"]
    assert (metadata.size, metadata.resize, metadata.skipped) == (SIZE, "bilinear", [])
    assert metadata.source.model_dump() == {"kind": "folder", "split": "12/4/2", "seed": 0}
    assert list(metadata.splits) == ["train", "val", "test"]
    assert not (tmp_path / "out.partial").exists()
    seen: list[str] = []
    for name, per_class in (("train", 12), ("val", 4), ("test", 2)):
        split = PackSplit(tmp_path / "out", metadata, name)
        ids = split.ids()
        seen += ids
        assert Counter(split.labels.tolist()) == dict.fromkeys(range(3), per_class)
        assert [metadata.classes[label] for label in split.labels] == [id.split("/")[0] for id in ids]
        expected = np.stack([decode(ImageSample(id, shapes / id), Reading(SIZE, "bilinear")) for id in ids])
        np.testing.assert_array_equal(split.images[:, 0], expected)
        np.testing.assert_array_equal(split.ink, count_ink_patches(expected))
        record = metadata.splits[name]
        assert record.samples == 3 * per_class
        assert record.pixel_mean == pytest.approx(expected.mean() / 255, abs=1e-9)
        assert record.pixel_std == pytest.approx(expected.std() / 255, abs=1e-9)
    assert len(seen) == len(set(seen)) == 3 * 18


def test_fractions_take_every_image(shapes: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(shapes), tmp_path / "out", changed(split="0.5/0.25/0.25"))
    assert {name: record.samples for name, record in metadata.splits.items()} == {"train": 30, "val": 15, "test": 15}


def test_without_a_word_the_split_is_eight_to_one_to_one(shapes: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(shapes), tmp_path / "out", changed(split=None))
    assert metadata.source.split == "0.8/0.1/0.1"
    assert {name: record.samples for name, record in metadata.splits.items()} == {"train": 48, "val": 6, "test": 6}


def test_split_folders_are_kept(shapes: Path, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        shutil.copytree(shapes, tmp_path / "in" / split)
    metadata = convert_dataset(open_source(tmp_path / "in"), tmp_path / "out", changed(split=None))
    assert list(metadata.splits) == ["train", "val"]
    assert metadata.source.model_dump() == {"kind": "folder", "split": None, "seed": None}
    assert all(id.startswith("valid/") for id in PackSplit(tmp_path / "out", metadata, "val").ids())
    with pytest.raises(ConfigError, match="already has train/val/test folders"):
        convert_dataset(open_source(tmp_path / "in"), tmp_path / "other", CONFIG)


def test_15_without_val_it_is_told_and_train_can_be_divided(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Finding 15: data without val/ were converted, refused by training only, and there was no way to divide train/."""
    for split in ("train", "test"):
        shutil.copytree(shapes, tmp_path / "in" / split)
    metadata = convert_dataset(open_source(tmp_path / "in"), tmp_path / "out", changed(split=None))
    assert list(metadata.splits) == ["train", "test"]
    assert "has no val/" in caplog.text
    assert "--split 0.9/0.1 takes it from train/" in caplog.text
    for text, counts in (("0.9/0.1", (54, 6, 60)), ("15/5", (45, 15, 60))):
        divided = convert_dataset(open_source(tmp_path / "in"), tmp_path / str(counts), changed(split=text))
        assert tuple(record.samples for record in divided.splits.values()) == counts
        assert divided.source.model_dump() == {"kind": "folder", "split": text, "seed": 0}
        ids = [PackSplit(tmp_path / str(counts), divided, split).ids() for split in divided.splits]
        assert all(id.startswith("train/") for id in ids[0] + ids[1])
        assert all(id.startswith("test/") for id in ids[2])
        assert len(set(ids[0] + ids[1])) == counts[0] + counts[1]
    with pytest.raises(ConfigError, match="has a test/ folder"):
        convert_dataset(open_source(tmp_path / "in"), tmp_path / "three", CONFIG)
    shutil.rmtree(tmp_path / "in/test")
    metadata = convert_dataset(open_source(tmp_path / "in"), tmp_path / "three", CONFIG)
    assert [record.samples for record in metadata.splits.values()] == [36, 12, 6]


def test_one_class_alone_is_refused(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one class alone is asked for"):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(classes=1))
    (tmp_path / "filelist.txt").write_text("circle/001.png\ncircle/002.png\n")
    with pytest.raises(DataError, match="one class alone, 'circle'"):
        convert_dataset(open_source(tmp_path), tmp_path.with_name("out"), CONFIG)


def test_adding_a_class_moves_no_other_class_s_images(shapes: Path, tmp_path: Path) -> None:
    convert_dataset(open_source(shapes), tmp_path / "before", CONFIG)
    shutil.copytree(shapes, tmp_path / "in")
    shutil.copytree(shapes / "cross", tmp_path / "in/arrow")
    convert_dataset(open_source(tmp_path / "in"), tmp_path / "after", CONFIG)
    for name in ("train", "val", "test"):
        before, after = (
            PackSplit(folder, DatasetMetadata.load(folder), name).ids()
            for folder in (tmp_path / "before", tmp_path / "after")
        )
        assert before == [id for id in after if not id.startswith("arrow/")]


def test_awkward_names(shapes: Path, tmp_path: Path) -> None:
    names = ["Zebra", "person (walking)", "été", "日本"]
    for name in names:
        shutil.copytree(shapes / "cross", tmp_path / "in put (1)" / name)
    destination = tmp_path / "données de sortie"
    metadata = convert_dataset(open_source(tmp_path / "in put (1)"), destination, CONFIG)
    assert metadata.classes == names
    assert "person (walking)" in (destination / "dataset.json").read_text(encoding="utf-8")
    assert PackSplit(destination, metadata, "val").ids()[-1].startswith("日本/")


def test_the_first_classes_only(shapes: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(shapes), tmp_path / "out", changed(classes=2))
    assert metadata.classes == ["circle", "cross"]
    assert metadata.splits["train"].samples == 24
    with pytest.raises(ConfigError, match="has 3 classes, fewer than the 4"):
        convert_dataset(open_source(shapes), tmp_path / "other", changed(classes=4))


def test_a_filelist(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "in")
    names = [f"{name}/{index:03d}.png" for name in ("square", "circle") for index in range(18)]
    (tmp_path / "in/filelist.txt").write_text("\n".join(names))
    metadata = convert_dataset(open_source(tmp_path / "in"), tmp_path / "out", CONFIG)
    assert metadata.source.kind == "filelist"
    assert metadata.classes == ["circle", "square"]
    ids = [id for split in metadata.splits for id in PackSplit(tmp_path / "out", metadata, split).ids()]
    assert sorted(ids) == sorted(names)


def test_quickdraw_strokes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [
        json.dumps({"key_id": str(key), "drawing": [[[0, key + 1], [0, 100]]]}).encode() + b"\n" for key in range(6)
    ]
    (tmp_path / "in/a b.ndjson").write_bytes(b"".join(lines))
    (tmp_path / "in/c.ndjson.gz").write_bytes(gzip.compress(b"".join([*lines, b"{broken\n"])))
    metadata = convert_dataset(open_source(tmp_path / "in"), tmp_path / "out", changed(split="0.5/0.5"))
    assert metadata.source.kind == "quickdraw"
    assert metadata.classes == ["a b", "c"]
    assert [skipped.id for skipped in metadata.skipped] == ["c/line-000000007"]
    split = PackSplit(tmp_path / "out", metadata, "train")
    assert split.images.shape[1:] == (1, SIZE, SIZE)
    assert (split.images.min(axis=(1, 2, 3)) < 128).all()


def test_progress_only_ever_grows_and_ends_at_one(shapes: Path, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, lambda done, share: told.append((done, share)))
    assert told == sorted(told)
    assert told[-1] == (54, pytest.approx(1))


# --------------------------------------------------------------------------------------------- the very same bytes


def test_two_runs_from_and_to_different_places_give_the_same_bytes(shapes: Path, tmp_path: Path) -> None:
    convert_dataset(open_source(shapes), tmp_path / "one", CONFIG)
    # Written in another order, so that the file system lists it in another order.
    for path in sorted(shapes.rglob("*.png"), reverse=True):
        target = tmp_path / "else where" / path.relative_to(shapes)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    convert_dataset(open_source(tmp_path / "else where"), tmp_path / "deep/down/two", CONFIG)
    assert content(tmp_path / "one") == content(tmp_path / "deep/down/two")


def test_two_workers_give_the_same_bytes_as_one(draw_shapes: Callable[..., Path], tmp_path: Path) -> None:
    source = draw_shapes(tmp_path / "in", per_class=90, size=20)  # several chunks a class
    for number in (5, 100, 200):
        path = sorted(source.rglob("*.png"))[number]
        path.write_bytes(path.read_bytes()[:60])
    for workers in (1, 2):
        config = changed(workers=workers, split="0.5/0.3/0.2")
        metadata = convert_dataset(open_source(source), tmp_path / f"by{workers}", config)
        assert len(metadata.skipped) == 3
    assert content(tmp_path / "by1") == content(tmp_path / "by2")


def test_another_seed_gives_another_split(shapes: Path, tmp_path: Path) -> None:
    ids = []
    for seed in (0, 1):
        metadata = convert_dataset(open_source(shapes), tmp_path / f"{seed}", changed(seed=seed))
        assert metadata.source.seed == seed
        ids.append(PackSplit(tmp_path / f"{seed}", metadata, "test").ids())
    assert ids[0] != ids[1]


# ------------------------------------------------------------------------------------------------- damaged images


def test_damaged_images_are_listed_and_all_others_converted(damaged: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(damaged), tmp_path / "out", changed(split="0.5/0.5"))
    assert [skipped.id for skipped in metadata.skipped] == ["circle/003.png", "square/000.png", "square/019.png"]
    assert all(skipped.reason for skipped in metadata.skipped)
    assert DatasetMetadata.load(tmp_path / "out").skipped == metadata.skipped
    ids = [id for split in metadata.splits for id in PackSplit(tmp_path / "out", metadata, split).ids()]
    assert len(ids) == 57
    assert not {skipped.id for skipped in metadata.skipped} & set(ids)


def test_a_damaged_image_moves_no_other_image_to_another_split(shapes: Path, damaged: Path, tmp_path: Path) -> None:
    for source, name in ((shapes, "whole"), (damaged, "rest")):
        convert_dataset(open_source(source), tmp_path / name, changed(split="0.5/0.3/0.2"))
    for split in ("train", "val", "test"):
        whole, rest = (
            set(PackSplit(folder, DatasetMetadata.load(folder), split).ids())
            for folder in (tmp_path / "whole", tmp_path / "rest")
        )
        assert whole - rest <= {"circle/003.png", "square/000.png", "square/019.png"}
        assert rest <= whole


def test_strict_stops_at_the_first_damaged_image(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"circle/003\.png: not an image") as caught:
        convert_dataset(open_source(damaged), tmp_path / "out", changed(strict=True, split="0.5/0.5"))
    assert "--strict" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["circle", "cross", "square"])
def test_a_class_none_of_whose_images_can_be_read(shapes: Path, tmp_path: Path, name: str) -> None:
    source = shutil.copytree(shapes, tmp_path / "in")
    (source / "circle/000.png").write_bytes(b"damaged, too")
    for path in (source / name).iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=f"class '{name}': none of its images can be read") as caught:
        convert_dataset(open_source(source), tmp_path / "out", CONFIG)
    assert f"the last: {name}/019.png (" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("listed", [False, True], ids=["folder", "filelist"])
@pytest.mark.parametrize("workers", [1, 2])
def test_m10_what_is_no_file_is_passed_over_by_name(shapes: Path, tmp_path: Path, listed: bool, workers: int) -> None:
    """M10: a named pipe called x.png hung the conversion. M8: and the list of them is UTF-8, a line each."""
    source = shutil.copytree(shapes, tmp_path / "in")
    os.mkfifo(source / "circle/pipe.png")
    (source / "circle/nowhere.png").symlink_to("nothing")
    (source / "circle/loop.png").symlink_to(source / "circle/loop.png")
    (source / "cross/device.png").symlink_to("/dev/zero")
    (source / "cross/a\nb.png").write_bytes(b"no image")
    (source / "cross" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(source / "square/socket.png"))
    if listed:
        names = [path.relative_to(source).as_posix() for path in source.glob("*/*.png")]
        names = [*(name for name in names if name.isprintable()), "square/nothing.png", "square/folder.png"]
        (source / "square/folder.png").mkdir()
        (source / "filelist.txt").write_text("\n".join(names))
    metadata = convert_dataset(open_source(source), tmp_path / "out", changed(split="0.5/0.5", workers=workers))
    reasons = {skipped.id: skipped.reason for skipped in metadata.skipped}
    common = {
        "circle/pipe.png": "not a file, but a named pipe",
        "circle/nowhere.png": "No such file or directory",
        "circle/loop.png": "Too many levels of symbolic links",
        "cross/device.png": "not a file, but a device",
        "square/socket.png": "not a file, but a socket",
    }
    if listed:
        theirs = {"square/nothing.png": "No such file or directory", "square/folder.png": "not a file, but a folder"}
    else:
        no_image = "not an image of a format that is read: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
        theirs = dict.fromkeys((r"cross/a\x0ab.png", r"cross/caf\xe9.png"), no_image)
    assert reasons == {**common, **theirs}
    assert DatasetMetadata.load(tmp_path / "out") == metadata
    assert sum(record.samples for record in metadata.splits.values()) == 60


def test_a_class_without_an_image(shapes: Path, tmp_path: Path) -> None:
    source = shutil.copytree(shapes, tmp_path / "in")
    (source / "nothing").mkdir()
    with pytest.raises(DataError, match="class 'nothing' has no image"):
        convert_dataset(open_source(source), tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_class_too_small_for_the_split(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 'circle' has 20 samples, the split asks for 80"):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(split="48/9/23"))


# ----------------------------------------------------------------------------------------------- the destination


def test_an_existing_destination_is_left_alone(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="exists") as caught:
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert "--overwrite" in str(caught.value.hint)
    assert content(tmp_path / "out") == {"thesis.tex": b"precious"}


def test_overwrite_replaces_a_data_set(shapes: Path, tmp_path: Path) -> None:
    convert_dataset(open_source(shapes), tmp_path / "out", changed(size=16))
    metadata = convert_dataset(open_source(shapes), tmp_path / "out", changed(overwrite=True))
    assert metadata.size == SIZE
    convert_dataset(open_source(shapes), tmp_path / "fresh", CONFIG)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out"]


def test_an_overwrite_that_fails_leaves_the_earlier_data_set(shapes: Path, damaged: Path, tmp_path: Path) -> None:
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    before = content(tmp_path / "out")

    def unchanged(done: int, share: float) -> None:
        assert content(tmp_path / "out") == before

    with pytest.raises(DataError):
        convert_dataset(open_source(damaged), tmp_path / "out", changed(overwrite=True, strict=True), unchanged)
    assert content(tmp_path / "out") == before
    convert_dataset(open_source(damaged), tmp_path / "out", changed(overwrite=True, split="0.5/0.5"), unchanged)
    assert content(tmp_path / "out") != before


def test_an_empty_folder_as_destination(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert DatasetMetadata.load(tmp_path / "out").size == SIZE


def test_the_current_folder_as_destination(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    convert_dataset(open_source(shapes), Path("."), CONFIG)
    assert DatasetMetadata.load(tmp_path / "out").size == SIZE


def test_a_link_as_destination_stays_a_link(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large disk/out")
    for size in (16, SIZE):
        convert_dataset(open_source(shapes), tmp_path / "out", changed(size=size, overwrite=True))
        assert DatasetMetadata.load(tmp_path / "out").size == size
    assert (tmp_path / "out").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["large disk", "out", "out"]


def test_m2_a_full_disk_is_told_with_the_file_and_mended(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M2: with almost nothing free, the line named no file."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for target, name in ((PackWriter, "append"), (os, "fsync"), (os, "replace"), (Path, "write_text")):
        with monkeypatch.context() as context:
            context.setattr(target, name, full)
            with pytest.raises(FastSketchError, match=r"out\.partial.*: No space left on device") as caught:
                convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
        assert "the same command continues" in str(caught.value.hint)
        assert "\n" not in caught.value.message
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert DatasetMetadata.load(tmp_path / "out").splits["train"].samples == 36


def test_pictures_that_are_not_read_are_counted_in_one_line(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = shutil.copytree(shapes, tmp_path / "in")
    for name in ("circle/a.heic", "circle/b.HEIC", "square/c.svg", "square/notes.txt"):
        (source / name).touch()
    convert_dataset(open_source(source), tmp_path / "out", CONFIG)
    told = [record.message for record in caplog.records if "passed over" in record.message]
    assert told == [f"{source}: passed over, for such files are not read: 2 .heic, 1 .svg"]
