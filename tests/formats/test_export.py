from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packs import write_pack

from fastsketch.config import ConvertConfig
from fastsketch.convert import add_formats, convert_dataset
from fastsketch.errors import BackendMissing, ConfigError, DataError, FastSketchError
from fastsketch.formats import export as exporting
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
