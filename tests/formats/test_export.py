from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from flips import flipped
from packs import write_all_formats, write_pack

from fastsketch.config import ConvertConfig
from fastsketch.conversion import add_formats, convert_dataset
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError
from fastsketch.formats import export as exporting
from fastsketch.formats import metadata
from fastsketch.formats.export import export
from fastsketch.formats.inspection import verify
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.locks import exclusive
from fastsketch.sources import open_source


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_formats_added_later_are_those_written_at_once(tmp_path: Path, shapes: Path) -> None:
    pytest.importorskip("ffcv")
    source, config = open_source(shapes), {"size": 32, "workers": 1}
    convert_dataset(source, tmp_path / "at-once", ConvertConfig(**config, format="all"))
    convert_dataset(source, tmp_path / "later", ConvertConfig(**config))
    before = contents(tmp_path / "later")
    add_formats(tmp_path / "later", ConvertConfig(format="dali"))
    add_formats(tmp_path / "later", ConvertConfig(format="all"))
    after = contents(tmp_path / "later")
    assert after == contents(tmp_path / "at-once")
    assert all(after[name] == content for name, content in before.items() if name != "dataset.json")
    assert {"train.beton", "val-00000.tar", "test-00000.idx"} <= after.keys()


def test_metadata_record_every_file_of_every_format(tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 9, "test": 3})
    metadata = add_formats(tmp_path / "data", ConvertConfig(format="dali"))
    assert DatasetMetadata.load(tmp_path / "data") == metadata
    recorded = {file.name for record in metadata.splits.values() for file in record.all_files()}
    assert recorded | {"dataset.json"} == contents(tmp_path / "data").keys()
    assert list(metadata.splits["train"].formats) == ["dali"]


# ------------------------------------------------------------------------------------------- what is there already


FILES = ("train.beton", "train-00000.tar", "train-00000.idx")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("position", [0, -1, None])
def test_a_file_that_is_something_else_is_refused_and_kept(
    tmp_path: Path, file: str, recorded: bool, position: int | None
) -> None:
    """M13: over a damaged tar or beton the exit code was 0. Unrecorded, it may be the user's own."""
    pytest.importorskip("ffcv")
    folder = tmp_path / "data"
    (write_all_formats if recorded else write_pack)(folder, {"train": 9, "val": 3})
    content = bytearray((folder / file).read_bytes() if recorded else b"a file of the user's own")
    if position is None:
        content += b"\0"
    else:
        content[position] ^= 1
    (folder / file).write_bytes(content)
    before = contents(folder)
    with pytest.raises(DataError, match=rf"{file} is there and is not what would be written") as caught:
        add_formats(folder, ConvertConfig(format="all"))
    assert "delete it if" in str(caught.value.hint)
    assert contents(folder) == before
    (folder / file).unlink()
    add_formats(folder, ConvertConfig(format="all"))
    verify(folder, DatasetMetadata.load(folder))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = tmp_path / "data"
    write_pack(folder, {"train": 9})
    make(folder / "train-00000.idx")
    with pytest.raises(DataError, match="is not what would be written"):
        add_formats(folder, ConvertConfig(format="dali"))
    assert len(list(folder.iterdir())) == 6


def test_damage_in_a_format_that_is_not_asked_for_is_told(tmp_path: Path) -> None:
    """M13: what is recorded is verified."""
    pytest.importorskip("ffcv")
    folder = tmp_path / "data"
    write_all_formats(folder, {"train": 9})
    with (
        flipped(folder / "train.beton", 8 * 12_345),
        pytest.raises(DataError, match=r"train\.beton is not as") as caught,
    ):
        add_formats(folder, ConvertConfig(format="dali"))
    assert "--format ffcv" in str(caught.value.hint)


@pytest.mark.parametrize("gone", [("train.beton",), ("val-00000.tar",), FILES])
def test_recorded_files_that_are_gone_are_written_anew(tmp_path: Path, gone: tuple[str, ...]) -> None:
    """The remedy that messages about a damaged file name: delete it, then `convert DATA --format`."""
    pytest.importorskip("ffcv")
    folder = tmp_path / "data"
    write_all_formats(folder, {"train": 9, "val": 3})
    before = contents(folder)
    for file in gone:
        (folder / file).unlink()
    add_formats(folder, ConvertConfig(format="all"))
    assert contents(folder) == before


def test_killed_at_any_write_it_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every point between two files, and within one: whole files stay and are kept, half ones go."""
    pytest.importorskip("ffcv")
    expected = tmp_path / "expected"
    write_all_formats(expected, {"train": 9, "val": 3})
    write_pack_at(tmp_path / "pack")

    class Killed(BaseException):
        pass

    real, finished = os.replace, False
    for number in range(9):
        folder = write_pack_at(tmp_path / f"killed-{number}")
        done = 0

        def replace(source: Path, target: Path, folder: Path = folder, number: int = number) -> None:
            nonlocal done
            if done == number:
                # What SIGKILL would leave: nothing cleans up.
                shutil.copyfile(source, folder / ".train-00000.fastsketch-writes-999999999.tar")
                raise Killed
            done += 1
            real(source, target)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(os, "replace", replace)
            add_formats(folder, ConvertConfig(format="all"))
            finished = True
        left = {name: content for name, content in contents(folder).items() if "fastsketch-writes" not in name}
        assert left["dataset.json"] == contents(expected if finished else tmp_path / "pack")["dataset.json"]
        whole = contents(expected) | {"dataset.json": left["dataset.json"]}
        assert all(content == whole[name] for name, content in left.items())  # nothing half-made
        times = {name: (folder / name).stat().st_mtime_ns for name in left if name != "dataset.json"}
        add_formats(folder, ConvertConfig(format="all"))
        assert contents(folder) == contents(expected)
        assert times == {name: (folder / name).stat().st_mtime_ns for name in times}
        if finished:
            break
    assert (finished, number) == (True, 7)  # two betons, two tars with an index each, dataset.json


@pytest.mark.parametrize("name", ["../../ESCAPED", "..", "a/b", "train.x"])
def test_a_split_s_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    """H4: `convert DS --format all` wrote outside the data set; under a checksum that is right."""
    folder = tmp_path / "a" / "b" / "data"
    described = write_pack(folder, {"train": 9}).model_dump(mode="json")
    record = described["splits"].pop("train")
    for column, file in record["files"].items():
        (folder / file["name"]).rename(folder / f"train.{column}")
    described["splits"][name] = json.loads(json.dumps(record).replace('"train.', f'"{name}.'))
    content = metadata._json({**described, "checksum": metadata._sha256(described)})
    (folder / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.json is damaged"):
        add_formats(folder, ConvertConfig(format="dali"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []


def test_a_conversion_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    metadata = write_pack(folder, {"train": 9})
    whole = export(folder, metadata, ["dali"])
    index = folder / "train-00000.idx"
    expected, written = index.read_bytes(), index.stat().st_mtime_ns
    assert export(folder, metadata, ["dali"]) == whole
    assert index.stat().st_mtime_ns == written
    index.write_bytes(b"of other images")
    assert export(folder, metadata, ["dali"]) == whole
    assert index.read_bytes() == expected


def write_pack_at(folder: Path) -> Path:
    write_pack(folder, {"train": 9, "val": 3})
    return folder


def test_a_pack_that_was_edited_is_not_copied(tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 9})
    images = tmp_path / "data" / "train.images.u8"
    images.write_bytes(bytes([images.read_bytes()[0] ^ 1]) + images.read_bytes()[1:])
    before = contents(tmp_path / "data")
    with pytest.raises(DataError, match=r"train\.images\.u8 is not as it was written"):
        add_formats(tmp_path / "data", ConvertConfig(format="dali"))
    assert contents(tmp_path / "data") == before


def test_a_disk_that_is_full_leaves_the_data_set_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "data", {"train": 9})
    before = contents(tmp_path / "data")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device", "train-00000.tar")

    monkeypatch.setattr(exporting, "write_pieces", no_space)
    with pytest.raises(FastSketchError, match="No space left on device"):
        add_formats(tmp_path / "data", ConvertConfig(format="dali"))
    assert contents(tmp_path / "data") == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    write_pack(tmp_path / "data", {"train": 9})
    with exclusive(tmp_path / "data"), pytest.raises(FastSketchError, match="another process is writing"):
        add_formats(tmp_path / "data", ConvertConfig(format="dali"))
    add_formats(tmp_path / "data", ConvertConfig(format="dali"))


def test_a_missing_library_is_told_before_the_work(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ffcv", None)
    with pytest.raises(BackendMissing, match="FFCV cannot be imported"):
        convert_dataset(open_source(shapes), tmp_path / "data", ConvertConfig(size=32, workers=1, format="all"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a converted data set"):
        add_formats(tmp_path, ConvertConfig(format="dali"))
