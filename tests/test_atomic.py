from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
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


def test_the_disk_has_the_file_before_its_name_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "a.txt", []

    def flush(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr(os, "fsync", flush)
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


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


def test_what_a_killed_process_left_goes_with_the_next_write_or_a_sweep(tmp_path: Path) -> None:
    killed = "import os, sys; from pathlib import Path; from fastsketch import atomic\n"
    killed += "with atomic.replacing(Path(sys.argv[1])) as temporary:\n"
    killed += "    temporary.write_text('half'); os.kill(os.getpid(), 9)\n"
    others = [tmp_path / ".a.txt", tmp_path / ".a.1.txt", tmp_path / "a.fastsketch-writes-1.txt"]
    for other in others:
        other.write_text("somebody's own")
    for mend in (lambda: atomic.write_text(tmp_path / "a.txt", "whole"), lambda: atomic.sweep(tmp_path)):
        subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a.txt")], check=False)
        assert sum("-writes-" in name for name in names(tmp_path)) == 2
        mend()
        assert names(tmp_path) == sorted([*(other.name for other in others), "a.txt"])
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_two_processes_that_write_the_same_file_leave_each_other_alone(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("ours")
        write = "import sys; from pathlib import Path; from fastsketch import atomic\n"
        write += "atomic.write_text(Path(sys.argv[1]), 'theirs')"
        subprocess.run([sys.executable, "-c", write, str(tmp_path / "a.txt")], check=True)
        assert (tmp_path / "a.txt").read_text() == "theirs"
    assert (tmp_path / "a.txt").read_text() == "ours"


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
