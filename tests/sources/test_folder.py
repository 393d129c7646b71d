from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from fastsketch.errors import ConfigError, DataError
from fastsketch.sources import open_source
from fastsketch.sources.folder import FolderSource

AWKWARD = [
    "zebra",
    "Zebra",
    "apple",
    "10",
    "9",
    "hot-air balloon",
    "person (walking)",
    "été",
    "日本",
    "a b",
    "ab",
    "_x",
]


def touch(root: Path, *names: str) -> None:
    """Make images that are only ever listed, never read."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids(source: FolderSource) -> list[list[str]]:
    return [[sample.id for sample in source.samples(label)] for label in range(len(source.class_names))]


@pytest.mark.parametrize("split", [None, "train"])
def test_labels_are_those_of_torchvisions_image_folder(tmp_path: Path, split: str | None) -> None:
    root = tmp_path / split if split else tmp_path
    touch(
        root, *(f"{name}/{file}" for name in AWKWARD for file in ("10.png", "9.png", "deep/er/1.JPG", "b c (1).jpeg"))
    )
    theirs = ImageFolder(str(root))
    source = FolderSource(tmp_path)

    assert list(source.class_names) == theirs.classes
    ours = {(str(sample.path), label) for label in range(len(AWKWARD)) for sample in source.samples(label)}
    assert ours == set(theirs.samples)


def test_samples_are_sorted_by_id_and_ids_are_paths_below_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/10.png", "b/sub/1.png", "a (x)/é 1.png")
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert not source.splits
    assert ids(source) == [["a (x)/é 1.png"], ["b/10.png", "b/2.png", "b/sub/1.png"]]
    assert [sample.split for sample in source.samples(1)] == [None] * 3


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_folders_by_any_of_their_names(tmp_path: Path, validation: str) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", f"{validation}/a/2.png", f"{validation}/b/2.png", "test/a/3.png")
    source = FolderSource(tmp_path)
    assert source.splits == ("train", "val", "test")
    assert source.class_names == ("a", "b")
    found = {(sample.id, sample.split) for sample in source.samples(0)}
    assert found == {("train/a/1.png", "train"), (f"{validation}/a/2.png", "val"), ("test/a/3.png", "test")}
    assert [sample.split for sample in source.samples(1)] == ["train", "val"]


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png")
    source = FolderSource(tmp_path)
    assert source.splits == ("train",)
    assert source.class_names == ("a", "b")


def test_the_class_train_of_tu_berlin_is_no_split(tmp_path: Path) -> None:
    touch(tmp_path, "airplane/1.png", "train/2.png", "truck/3.png")
    source = FolderSource(tmp_path)
    assert not source.splits
    assert source.class_names == ("airplane", "train", "truck")
    assert ids(source)[1] == ["train/2.png"]


def test_the_class_train_inside_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/train/1.png", "train/truck/2.png", "val/train/3.png")
    source = FolderSource(tmp_path)
    assert source.class_names == ("train", "truck")
    assert ids(source)[0] == ["train/train/1.png", "val/train/3.png"]


def test_a_stray_folder_that_makes_classes_of_splits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "notes/1.png")
    assert FolderSource(tmp_path).class_names == ("notes", "train", "val")
    assert "train, val are read as classes" in caplog.text


def test_splits_without_class_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "test/2.png")
    with pytest.raises(DataError, match="no class folders"):
        FolderSource(tmp_path)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/._1.png", "a/Thumbs.db", "a/notes.txt", "a/.thumbnails/1.png", "b/2.png")
    touch(tmp_path, ".cache/x.png", "readme.md")
    source = FolderSource(tmp_path)
    assert ids(source) == [["a/1.png"], ["b/2.png"]]


def test_two_names_for_validation_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(DataError, match="two folders mean the split 'val'"):
        FolderSource(tmp_path)


def test_a_class_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "val/b/1.png")
    with pytest.raises(DataError, match="class 'b' is in another split but not in train/"):
        FolderSource(tmp_path)


def test_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "val/b/1.png")
    (tmp_path / "train/b").mkdir()
    with pytest.raises(DataError, match="class 'b' has no image in train/"):
        FolderSource(tmp_path).samples(1)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/readme.txt")
    with pytest.raises(DataError, match="class 'b' has no image"):
        FolderSource(tmp_path).samples(1)


@pytest.mark.parametrize("files", [[], ["1.png", "2.png"], [".hidden/1.png"]], ids=["empty", "loose images", "hidden"])
def test_a_folder_without_classes_is_no_source(tmp_path: Path, files: list[str]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match="no class folders") as caught:
        open_source(tmp_path)
    assert "ROOT/<class>/<image>" in str(caught.value.hint)


def test_what_is_not_there_and_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        open_source(tmp_path / "nothing")
    touch(tmp_path, "movie.mp4")
    with pytest.raises(ConfigError, match=r"movie\.mp4: not a folder"):
        open_source(tmp_path / "movie.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_file_names_that_are_not_utf8_get_printable_ids(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf")
    os.mkdir(folder)
    Path(os.fsdecode(os.path.join(folder, b"\xe9.png"))).touch()
    touch(tmp_path, "dog/1.png")
    (sample,) = FolderSource(tmp_path).samples(0)
    assert sample.id == r"caf/\xe9.png"
    assert sample.path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_class_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    with pytest.raises(DataError, match=r"caf\\xe9.*not UTF-8"):
        FolderSource(tmp_path)
