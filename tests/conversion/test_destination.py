"""Nothing of others is touched, and nothing is lost: what a conversion finds where it would write or delete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from converting import CONFIG, SIZE, changed, content

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.conversion.destination import NOTE, Destination
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.sources import open_source

OVERWRITE = changed(overwrite=True)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every folder as empty."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("disk", ["/", "/proc"])
def test_a_disk_is_no_destination(shapes: Path, disk: str) -> None:
    with pytest.raises(ConfigError, match="is a disk, which no data set can replace"):
        convert_dataset(open_source(shapes), Path(disk), CONFIG)


class Killed(BaseException):
    """Stands for `kill -9`: nothing catches it."""


# --------------------------------------------------------------------------------- source and destination are apart


def images(source: Path, folder: Path) -> Path:
    return shutil.copytree(source, folder)


def listed(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    (folder / "filelist.txt").write_text("\n".join(names))
    return folder / "filelist.txt"


def drawings(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    lines = [json.dumps({"key_id": str(key), "drawing": [[[0, key], [0, 9]]]}) + "\n" for key in range(1, 40)]
    for name in ("a", "b"):
        (folder / f"{name}.ndjson").write_text("".join(lines))
    return folder


def one_file(source: Path, folder: Path) -> Path:
    return drawings(source, folder) / "a.ndjson"


KINDS = [images, listed, drawings, one_file]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("link", [False, True], ids=["", "through a link"])
@pytest.mark.parametrize("name", ["ds", "ds.partial", "ds.earlier"])
def test_h1_a_source_in_what_is_replaced_is_refused(
    shapes: Path, tmp_path: Path, kind: Callable[[Path, Path], Path], link: bool, name: str
) -> None:
    """H1: `convert ds/raw ds --overwrite` deleted the source."""
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    source = kind(shapes, tmp_path / name / "raw")
    destination = tmp_path / "ds"
    if link:
        (tmp_path / "link").symlink_to(source)
        (tmp_path / "place").symlink_to(tmp_path / "ds")
        source = tmp_path / "link" if kind in (images, drawings) else source
        destination = tmp_path / "place"
    before = tree(tmp_path)
    for config in (CONFIG, OVERWRITE):
        with pytest.raises(ConfigError, match=r"the source .* lies in .*, which the conversion may replace"):
            convert_dataset(open_source(source), destination, config)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("place", [".", "out", "circle/out", "../in/out", "../link/out"])
def test_m11_a_destination_in_the_source_is_refused(
    shapes: Path, tmp_path: Path, kind: Callable[[Path, Path], Path], place: str
) -> None:
    """M11: killed, the same command said "class 'out.partial' has no image"; and `convert ROOT ROOT`."""
    source = kind(shapes, tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = tree(tmp_path)
    for config in (CONFIG, OVERWRITE):
        with pytest.raises(ConfigError, match="lies in"):
            convert_dataset(open_source(source), tmp_path / "in" / place, config)
    assert tree(tmp_path) == before


def test_neighbours_with_like_names_are_apart(shapes: Path, tmp_path: Path) -> None:
    for name in ("a", "a.b", "ab"):
        shutil.copytree(shapes, tmp_path / name)
    convert_dataset(open_source(tmp_path / "ab"), tmp_path / "abc", CONFIG)
    convert_dataset(open_source(tmp_path / "a.b"), tmp_path / "a.c", CONFIG)
    drawn = drawings(shapes, tmp_path / "drawn")
    with pytest.raises(DataError, match="one class alone, 'a'"):  # beside a source that is one file there is room
        convert_dataset(open_source(drawn / "a.ndjson"), drawn / "out", CONFIG)


# ------------------------------------------------------------------------------------------- what is somebody else's


def precious(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    (folder / "chapters").mkdir()


def backup(folder: Path) -> None:
    """A data set that the user copied there."""
    shutil.copytree(folder.with_name("ds"), folder)


def diary(folder: Path) -> None:
    """Files that are called as ours are, but are not."""
    folder.mkdir()
    (folder / "journal.json").write_text('{"monday": "sunny"}')
    (folder / NOTE).write_text("[]")


def file(folder: Path) -> None:
    folder.write_text("precious")


def link(folder: Path) -> None:
    folder.symlink_to(folder.with_name("elsewhere"))
    folder.with_name("elsewhere").mkdir()


def loop(folder: Path) -> None:
    folder.symlink_to(folder)


@pytest.mark.parametrize("put", [precious, backup, diary, file, link, loop])
def test_h2_a_partial_folder_of_somebody_elses_is_refused(
    shapes: Path, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """H2: `convert SRC p` emptied a folder p.partial of the user's own."""
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    put(tmp_path / "ds.partial")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"ds\.partial is in the way") as caught:
        convert_dataset(open_source(shapes), tmp_path / "ds", OVERWRITE)
    assert "rename it" in str(caught.value.hint)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("put", [precious, backup, diary, file, link, loop])
def test_h3_an_earlier_folder_of_somebody_elses_is_refused(
    shapes: Path, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """H3: `convert SRC p --overwrite` deleted a folder p.earlier of the user's own."""
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    put(tmp_path / "ds.earlier")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"ds\.earlier is in the way"):
        convert_dataset(open_source(shapes), tmp_path / "ds", OVERWRITE)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("put", [precious, backup, diary, file])
def test_where_nothing_is_replaced_an_earlier_folder_is_left_alone(
    shapes: Path, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    put(tmp_path / "new.earlier")
    before = tree(tmp_path / "new.earlier")
    for config in (CONFIG, OVERWRITE):
        convert_dataset(open_source(shapes), tmp_path / "new", config)
        assert tree(tmp_path / "new.earlier") == before
        shutil.rmtree(tmp_path / "new")


def file_in(folder: Path) -> None:
    (folder / "notes.txt").write_text("precious")


def folder_in(folder: Path) -> None:
    (folder / "raw").mkdir()
    (folder / "raw/1.png").write_text("precious")


def hidden_in(folder: Path) -> None:
    (folder / ".git").mkdir()


def another_format_in(folder: Path) -> None:
    (folder / "train.beton").write_text("not recorded")


def folder_for_a_file(folder: Path) -> None:
    (folder / "train.ink.u16").unlink()
    (folder / "train.ink.u16").mkdir()


@pytest.mark.parametrize("put", [file_in, folder_in, hidden_in, another_format_in, folder_for_a_file])
def test_m14_overwrite_deletes_nothing_that_is_not_recorded(
    shapes: Path, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """M14: a user's own folder inside the data set was deleted with it."""
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    put(tmp_path / "ds")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"ds holds '.*', which no conversion wrote") as caught:
        convert_dataset(open_source(shapes), tmp_path / "ds", OVERWRITE)
    assert "move or delete it yourself" in str(caught.value.hint)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"splits": 3}', "[" * 100_000, '{"splits": {"a": {"files": {"b": {"name": "../c"}}}}}']
)
def test_m14_a_damaged_data_set_is_not_overwritten(shapes: Path, tmp_path: Path, text: str) -> None:
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    (tmp_path / "ds/dataset.json").write_text(text)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"dataset\.json is damaged: --overwrite cannot tell") as caught:
        convert_dataset(open_source(shapes), tmp_path / "ds", OVERWRITE)
    assert "yourself" in str(caught.value.hint)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("put", "words"), [(precious, "is no data set: --overwrite will not"), (file, "is no folder")])
def test_overwrite_deletes_nothing_but_data_sets(
    shapes: Path, tmp_path: Path, put: Callable[[Path], None], words: str
) -> None:
    put(tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=words):
        convert_dataset(open_source(shapes), tmp_path / "out", OVERWRITE)
    assert tree(tmp_path) == before


def test_a_data_set_of_another_version_may_be_overwritten(shapes: Path, tmp_path: Path) -> None:
    """Or `convert it again`, the remedy for one that is too old, would be refused."""
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    record = json.loads((tmp_path / "ds/dataset.json").read_text())
    (tmp_path / "ds/dataset.json").write_text(json.dumps({**record, "format_version": 1, "colour": "blue"}))
    convert_dataset(open_source(shapes), tmp_path / "ds", OVERWRITE)
    assert DatasetMetadata.load(tmp_path / "ds").size == SIZE
    assert [path.name for path in tmp_path.iterdir()] == ["ds"]


def test_what_is_put_into_the_partial_folder_meanwhile_is_not_deleted(shapes: Path, tmp_path: Path) -> None:
    def put(done: int, share: float) -> None:
        (tmp_path / "out.partial/mine.txt").write_text("precious")

    for progress in (put, None):  # told at the end, and before the next try
        with pytest.raises(ConfigError, match=r"out\.partial holds 'mine\.txt'"):
            convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, progress)
        assert (tmp_path / "out.partial/mine.txt").read_text() == "precious"
    (tmp_path / "out.partial/mine.txt").unlink()
    convert_dataset(open_source(shapes), tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_put_into_the_destination_meanwhile_is_not_deleted(shapes: Path, tmp_path: Path) -> None:
    def put(done: int, share: float) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/mine.txt").write_text("precious")

    with pytest.raises(ConfigError, match="exists"):
        convert_dataset(open_source(shapes), tmp_path / "out", CONFIG, put)
    assert content(tmp_path / "out") == {"mine.txt": b"precious"}


# --------------------------------------------------------------------------------------- killed while it publishes


def test_killed_at_any_step_of_replacing_a_data_set_nothing_is_lost(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every change in turn: one of the two is whole all the time, and the same command ends in the same files."""
    before, after = tmp_path / "before", tmp_path / "after"
    convert_dataset(open_source(shapes), before, changed(size=16))
    convert_dataset(open_source(shapes), after, CONFIG)
    place, publish = Destination(tmp_path / "ds"), Destination.publish
    for point in count(1):
        shutil.copytree(before, place.folder)
        changes = iter(range(1, point))

        def counted(function: Callable[..., object], changes: Iterator[int] = changes) -> Callable[..., object]:
            def change(*arguments: object, **keywords: object) -> object:
                if next(changes, None) is None:
                    raise Killed
                return function(*arguments, **keywords)

            return change

        def disturbed(self: Destination, *, overwrite: bool, counted=counted) -> None:
            with monkeypatch.context() as patch:
                for name in ("replace", "rename", "unlink", "rmdir", "fsync"):
                    patch.setattr(os, name, counted(getattr(os, name)))
                publish(self, overwrite=overwrite)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(Destination, "publish", disturbed)
            convert_dataset(open_source(shapes), place.folder, OVERWRITE)
        whole = [path for path in (place.folder, place.earlier) if (path / "dataset.json").exists()]
        assert whole
        assert all(any(content(each).items() <= content(path).items() for each in (before, after)) for path in whole)
        if next(changes, None) is not None:  # there are not so many
            break
        convert_dataset(open_source(shapes), place.folder, OVERWRITE)
        assert content(place.folder) == content(after)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "before", "ds"]
        shutil.rmtree(place.folder)
    assert point > 20


def replaced_halfway(shapes: Path, folder: Path) -> Destination:
    """Killed between the two renamings."""
    place = Destination(folder)
    convert_dataset(open_source(shapes), folder, changed(size=16))
    convert_dataset(open_source(shapes), folder.with_name("new"), CONFIG)
    names = [path.name for path in folder.iterdir() if path.name != "dataset.json"]
    (folder / NOTE).write_text(json.dumps({"replaced": names}))
    folder.rename(place.earlier)
    return place


def test_between_the_renamings_another_command_is_told_and_loses_nothing(shapes: Path, tmp_path: Path) -> None:
    place = replaced_halfway(shapes, tmp_path / "ds")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"ds\.earlier is a data set that was being replaced") as caught:
        convert_dataset(open_source(shapes), place.folder, CONFIG)
    assert "rename it back" in str(caught.value.hint)
    assert tree(tmp_path) == before
    convert_dataset(open_source(shapes), place.folder, OVERWRITE)
    assert content(place.folder) == content(tmp_path / "new")
    assert not place.earlier.exists()


def test_what_is_put_into_the_earlier_folder_is_not_deleted(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = replaced_halfway(shapes, tmp_path / "ds")
    (place.earlier / "mine.txt").write_text("precious")
    convert_dataset(open_source(shapes), place.folder, OVERWRITE)
    assert content(place.folder) == content(tmp_path / "new")
    assert content(place.earlier) == {"mine.txt": b"precious"}
    assert "ds.earlier is left" in caplog.text


def test_a_conversion_that_only_had_to_clear_up_is_done_again_if_the_source_changed(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It kept the images of before, with `--overwrite` too."""
    source = shutil.copytree(shapes, tmp_path / "in")
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "_clear_up", lambda self: None)
        convert_dataset(open_source(source), tmp_path / "ds", CONFIG)
    shutil.copy(source / "circle/001.png", source / "circle/000.png")
    convert_dataset(open_source(source), tmp_path / "ds", OVERWRITE)
    assert "files of class 'circle' have changed since it was converted" in caplog.text
    convert_dataset(open_source(source), tmp_path / "fresh", CONFIG)
    assert content(tmp_path / "ds") == content(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "fresh", "in"]


@pytest.mark.parametrize("config", [CONFIG, OVERWRITE])
def test_a_data_set_that_is_called_as_work_is_none(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: ConvertConfig
) -> None:
    """A user's `p.partial`, killed before its journal was deleted, was taken for unfinished work of `p`."""
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "_clear_up", lambda self: None)
        convert_dataset(open_source(shapes), tmp_path / "p.partial", CONFIG)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"p\.partial is in the way: it is the data set 'p\.partial', not"):
        convert_dataset(open_source(shapes), tmp_path / "p", config)
    assert tree(tmp_path) == before


def test_a_conversion_that_only_had_to_clear_up_is_not_done_again(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "_clear_up", lambda self: None)
        convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG)
    assert (tmp_path / "ds/journal.json").exists()
    told: list[int] = []
    for config in (changed(size=16), changed(format="dali")):  # another command: what is there is a data set like any
        with pytest.raises(ConfigError, match="exists"):
            convert_dataset(open_source(shapes), tmp_path / "ds", config)
    convert_dataset(open_source(shapes), tmp_path / "ds", CONFIG, lambda done, share: told.append(done))
    convert_dataset(open_source(shapes), tmp_path / "fresh", CONFIG)
    assert not told
    assert content(tmp_path / "ds") == content(tmp_path / "fresh")
