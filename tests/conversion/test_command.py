"""`fastsketch convert`: what is printed of names that others chose, and of what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fastsketch_cli.app import app
from typer.testing import CliRunner, Result

SMALL = ("--size", "24", "--workers", "1", "--split", "12/4/2")


def called(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on Linux only")
def test_m8_skipped_files_are_a_line_each_whatever_they_are_called(shapes: Path, tmp_path: Path) -> None:
    """The low one: a newline in a file name broke the list. M8: and half a character ended in a traceback."""
    source = shutil.copytree(shapes, tmp_path / "in")
    names = [b"a\nerror: b.png", b"\x1b[31mred.png", b"caf\xe9.png", b"[bold]x.png", "\u2028.png".encode()]
    for name in names:
        (source / "circle" / os.fsdecode(name)).write_bytes(b"")
    result = called(source, tmp_path / "out", *SMALL)
    assert result.exit_code == 0, result.output
    listed = [line for line in result.output.splitlines() if line.startswith("  skipped ")]
    assert [line.split(": not an image")[0] for line in listed] == [
        r"  skipped circle/[bold]x.png",
        r"  skipped circle/\u2028.png",
        r"  skipped circle/\x1b[31mred.png",
        r"  skipped circle/a\x0aerror: b.png",
        r"  skipped circle/caf\xe9.png",
    ]
    assert "5 unreadable images skipped" in result.output


def test_m8_keys_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    keys = [r'"\ud800"', r'"a\nb"', "null", '"1"', "[1]", '{"a": 2}', '"\\u0000"']
    lines = [f'{{"key_id": {key}, "drawing": [[[0, 9], [0, 9]]]}}\n' for key in keys]
    for name in ("cat", "dog"):
        (tmp_path / f"in/{name}.ndjson").write_text("".join([*lines, '{"key_id": "\\ud800\\n"}\n']))
    result = called(tmp_path / "in", tmp_path / "out", "--size", 24, "--workers", 1, "--split", "0.5/0.5")
    assert result.exit_code == 0, result.output
    ids = [
        json.loads(line)
        for split in ("train", "val")
        for line in (tmp_path / f"out/{split}.ids.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(ids) == len(set(ids)) == 14
    assert sum(line.startswith(r"  skipped cat/\ud800\x0a: ") for line in result.output.splitlines()) == 1


def test_h1_the_source_is_still_there(shapes: Path, tmp_path: Path) -> None:
    """H1, as it was found: the source was deleted, exit code 0."""
    assert called(shapes, tmp_path / "ds", *SMALL).exit_code == 0
    shutil.copytree(shapes, tmp_path / "ds/raw")
    result = called(tmp_path / "ds/raw", tmp_path / "ds", *SMALL, "--overwrite")
    assert result.exit_code == 2
    assert len(list((tmp_path / "ds/raw").rglob("*.png"))) == 60


@pytest.mark.parametrize("name", ["ds.partial", "ds.earlier"])
def test_h2_h3_folders_of_ones_own_are_still_there(shapes: Path, tmp_path: Path, name: str) -> None:
    assert called(shapes, tmp_path / "ds", *SMALL).exit_code == 0
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("precious")
    result = called(shapes, tmp_path / "ds", *SMALL, "--overwrite")
    assert result.exit_code == 2
    assert (tmp_path / name / "thesis.tex").read_text() == "precious"


def test_a_split_beyond_all_numbers(shapes: Path, tmp_path: Path) -> None:
    result = called(shapes, tmp_path / "out", "--split", "1e308/1e308/0")
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())
