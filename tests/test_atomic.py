from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fastsketch import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_appears_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.txt", "café\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "café\n"
    assert names(tmp_path) == ["a.txt"]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic.replacing(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_whoever_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        atomic.write_text(path, "new")
        assert reader.read() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_before_anything_is_written_is_not_covered_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first"), atomic.replacing(tmp_path / "a.txt"):
        raise ValueError("first")
    assert names(tmp_path) == []


def test_savers_that_choose_the_format_by_the_suffix(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "plot.of.loss.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path  # a rename across file systems is no rename
        temporary.touch()
    assert names(tmp_path) == ["plot.of.loss.png"]


def test_json_stays_readable(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"classes": ["été", "日本"]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "été" in text
    assert "日本" in text
    assert json.loads(text) == {"classes": ["été", "日本"]}


def test_csv_quotes_what_it_must_and_leaves_none_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    atomic.write_csv(path, ["name", "share"], [{"name": 'owl, "barn"', "share": 0.5}, {"name": "日本", "share": None}])
    assert path.read_text(encoding="utf-8") == 'name,share\n"owl, ""barn""",0.5\n日本,\n'
    with path.open(encoding="utf-8", newline="") as table:
        assert [row["name"] for row in csv.DictReader(table)] == ['owl, "barn"', "日本"]


def test_a_missing_folder_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write_text(tmp_path / "nothing/a.txt", "x")
