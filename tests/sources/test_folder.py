from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import ImageFolder

from fastsketch.errors import ConfigError, DataError
from fastsketch.sources import open_source
from fastsketch.sources.folder import LAYOUTS, FolderSource
from fastsketch.sources.sample import is_printable, printable

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


def test_all_classes_without_images_are_named_at_once(tmp_path: Path) -> None:
    """One a call was: whoever mended it was told of the next."""
    touch(tmp_path, "a/1.png", "b/readme.txt", "c/1.png", "d/1.HEIC", "e/.hidden.png")
    with pytest.raises(DataError) as caught:
        FolderSource(tmp_path).samples(1)
    assert (
        caught.value.message == f"{tmp_path}: 3 classes, 'b', 'd', 'e', have no image (their .heic files are not read)"
    )


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.HEIC", "a/deep/3.heic", "a/notes.txt", "a/.4.heic", "b/1.png", "b/2.svg")
    source = FolderSource(tmp_path)
    for _ in range(2):  # listed again for their state, they are no more
        ids(source)
        assert source.state(0)
        assert source.unread() == {".heic": 2, ".svg": 1}


def test_what_macos_adds_to_archives_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "b/__MACOSX/._1.png", "b/__MACOSX/1.png", "__MACOSX/a/1.png")
    assert ids(FolderSource(tmp_path)) == [["a/1.png"], ["b/1.png"]]
    touch(tmp_path / "above", "__MACOSX/set/a/._1.png", "set/a/1.png", "set/b/1.png")
    message, hint = refused(tmp_path / "above")
    assert message == "2 images of one class 'set'"
    assert hint.endswith(f"convert {tmp_path / 'above' / 'set'}")


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


# -------------------------------------------------------------------------------------- layouts that cannot be meant


def refused(root: Path) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        open_source(root)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{root}: "), str(caught.value.hint)


def test_3_one_level_too_high(tmp_path: Path) -> None:
    """Finding 3: it became one class, exit code 0."""
    touch(tmp_path, *(f"sketches/{name}/{index}.png" for name in ("bed", "cat", "dog") for index in range(4)))
    message, hint = refused(tmp_path)
    assert message == "12 images of one class 'sketches'"
    assert hint == f"if its folders (bed, cat, …) are the classes, convert {tmp_path / 'sketches'}"
    assert len(open_source(tmp_path / "sketches").class_names) == 3


def test_3_one_level_too_high_above_splits(tmp_path: Path) -> None:
    touch(tmp_path, "set/train/a/1.png", "set/train/b/1.png", "set/test/a/2.png")
    message, hint = refused(tmp_path)
    assert message == "3 images of one class 'set'"
    assert hint.endswith(f"convert {tmp_path / 'set'}")


def test_3_one_level_too_high_in_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/all/a/1.png", "train/all/b/1.png", "val/all/a/2.png")
    message, hint = refused(tmp_path)
    assert message == "3 images of one class 'all'"
    assert "(a, b)" in hint


@pytest.mark.parametrize("split", ["", "train/"])
def test_3_images_only_in_deeper_folders(tmp_path: Path, split: str) -> None:
    touch(tmp_path, *(f"{split}{pen}/{name}/1.png" for pen in ("thick", "thin") for name in ("bed", "cat")))
    message, hint = refused(tmp_path)
    assert message == "no class folder holds images itself, all are deeper"
    assert f"the folders of {tmp_path / split / 'thick'} (bed, cat) are the classes" in hint


def test_3_the_hint_names_the_folder_that_holds_images(tmp_path: Path) -> None:
    """A data set of ours beside the sketches has folders too, and comes first in the alphabet."""
    (tmp_path / "data" / "s").mkdir(parents=True)
    touch(tmp_path, "sketches/bed/1.png", "sketches/cat/1.png")
    _, hint = refused(tmp_path)
    assert f"the folders of {tmp_path / 'sketches'} (bed, cat) are the classes" in hint


def test_3_deeper_folders_beside_images_are_part_of_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/more/2.png", "b/more/3.png")
    assert ids(FolderSource(tmp_path)) == [["a/1.png", "a/more/2.png"], ["b/more/3.png"]]


@pytest.mark.parametrize(
    ("names", "found"),
    [(["test"], "test/"), (["val", "test"], "test/ and val/"), (["validation"], "validation/")],
)
def test_3_other_splits_without_train(tmp_path: Path, names: list[str], found: str) -> None:
    """Finding 3: `test/<class>` alone became a class `test`, `val/` and `test/` two."""
    touch(tmp_path, *(f"{split}/{name}/1.png" for split in names for name in ("bed", "cat")))
    message, hint = refused(tmp_path)
    assert message == f"there is {found} but no train/"
    assert "expected ROOT/train/<class>/<image>" in hint


def test_3_other_splits_without_train_of_linked_classes(tmp_path: Path) -> None:
    """Finding 3: with class folders that are links it said that class 'test' has no image."""
    touch(tmp_path, "elsewhere/bed/1.png", "elsewhere/cat/1.png", "root/test/.keep")
    for name in ("bed", "cat"):
        (tmp_path / "root/test" / name).symlink_to(tmp_path / "elsewhere" / name)
    message, _ = refused(tmp_path / "root")
    assert message == "there is test/ but no train/"


def test_3_a_folder_beside_the_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "results/plots/1.png")
    message, hint = refused(tmp_path)
    assert message == "no class folder holds images itself, all are deeper"
    assert hint == "train/ is a split only where all folders are: move results/ elsewhere"


def test_3_images_directly_in_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.JPG", "notes.txt")
    message, hint = refused(tmp_path)
    assert message == "no class folders with images; 2 images lie directly in it"
    assert "ROOT/<class>/<image>" in hint


def test_one_class_alone(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/2.png")
    assert refused(tmp_path) == ("2 images of one class 'cat'", LAYOUTS)


# ------------------------------------------------------------------------------------------------ links and no files


def test_links_to_folders_and_images_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/bed/1.png", "store/more/2.png", "store/cat.png", "root/cat/1.png")
    (tmp_path / "root/bed").symlink_to(tmp_path / "store/bed")
    (tmp_path / "root/cat/more").symlink_to(tmp_path / "store/more")
    (tmp_path / "root/cat/3.png").symlink_to(tmp_path / "store/cat.png")
    assert ids(FolderSource(tmp_path / "root")) == [["bed/1.png"], ["cat/1.png", "cat/3.png", "cat/more/2.png"]]


def test_links_that_lead_in_circles_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/deep/2.png", "b/1.png")
    (tmp_path / "a/deep/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/again").symlink_to(tmp_path / "a/deep")
    (tmp_path / "a/itself.png").symlink_to(tmp_path / "a/itself.png")
    (tmp_path / "b/root").symlink_to(tmp_path)
    found = ids(FolderSource(tmp_path))
    assert found[0] in (
        ["a/1.png", "a/deep/2.png", "a/itself.png"],
        ["a/1.png", "a/again/2.png", "a/itself.png"],
    )
    assert found[1] == ["b/1.png"]


def test_m10_what_is_no_file_is_listed_and_never_opened(tmp_path: Path) -> None:
    """M10: a named pipe called x.png hung the conversion. By name it is an image, and told when it is tried."""
    touch(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    (tmp_path / "a/folder.png").mkdir()
    (tmp_path / "a/nowhere.png").symlink_to(tmp_path / "nothing")
    assert ids(FolderSource(tmp_path))[0] == ["a/1.png", "a/nowhere.png", "a/pipe.png"]
    with pytest.raises(ConfigError, match="not a folder"):
        open_source(tmp_path / "a/pipe.png")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "b/deep/2.png")
    (tmp_path / "b/deep").chmod(0)
    try:
        with pytest.raises(DataError, match=r"b/deep: cannot be read \(Permission denied\)"):
            FolderSource(tmp_path).samples(1)
    finally:
        (tmp_path / "b/deep").chmod(0o700)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "b/deep/2.png")
    scandir = os.scandir

    def refuse(path: os.PathLike[str]) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"b/deep: cannot be read \(Permission denied\)"):
        FolderSource(tmp_path).samples(1)


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u2028b", "a\x85b", os.fsdecode(b"caf\xe9")])
def test_m8_a_class_name_of_several_lines_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "b/1.png", f"{name}/1.png")
    message, hint = refused(tmp_path)
    assert printable(name) in message
    assert message.isprintable()
    assert hint == "rename it"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_m8_file_names_of_any_bytes_get_ids_of_one_line_each_its_own(tmp_path: Path) -> None:
    """M8 and the low one: a newline in a file name broke the list of skipped files."""
    names = [b"%c.png" % byte for byte in range(1, 256) if byte not in b"/."]
    names += [rb"\x0a.png", rb"\x5cx0a.png", rb"\u2028.png", rb"\xe9.png", "\u2028.png".encode(), "é.png".encode()]
    touch(tmp_path, "b/1.png")
    (tmp_path / "a").mkdir()
    for name in names:
        (tmp_path / "a" / os.fsdecode(name)).touch()
    found = [sample.id for sample in FolderSource(tmp_path).samples(0)]
    assert len(set(found)) == len(names)
    assert all(id.isprintable() and id.encode() for id in found)
    assert {r"a/\x0a.png", r"a/\x5cx0a.png", r"a/\xe9.png", r"a/\x5cxe9.png", "a/é.png", "a/\\.png"} <= set(found)


@given(st.text(st.characters(), max_size=8), st.text(st.sampled_from("\\xu05caé\n\x85\udc85\u2028"), max_size=8))
def test_m8_printable_names_stay_apart_and_are_what_they_were(name: str, other: str) -> None:
    for each in (name, other):
        shown = printable(each)
        assert is_printable(shown)
        assert shown.encode().decode() == shown
        assert len(shown.splitlines()) <= 1
        if is_printable(each) and "\\" not in each:
            assert shown == each
    assert (printable(name) == printable(other)) == (name == other)
    seen.setdefault(printable(other), other)
    assert seen[printable(other)] == other


seen: dict[str, str] = {}
