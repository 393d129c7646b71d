"""`inspect --sheet` and `preview --out`: what is asked for is checked before any work, and tables show any name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastsketch_cli.commands import app
from packs import CLASSES, write_pack
from typer.testing import CliRunner, Result


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(each) for each in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_pack(tmp_path / "data", {"train": 20, "val": 5}, size=32)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sheet", "x.foo"], "x.foo: a picture of this kind cannot be written"),
        (["--sheet", "sheet.txt"], "sheet.txt: a picture of this kind cannot be written"),
        (["--sheet", "data/train.images.u8"], "a picture of this kind cannot be written"),
        (["--sheet", "data/x.png"], "data/x.png is within the data set"),
        (["--sheet", "x.png", "--split", "train+val"], "a contact sheet shows one split, and there is no 'train+val'"),
        (["--sheet", "x.png", "--split", "dev"], "there is no 'dev' split"),
    ],
)
def test_sheets_that_cannot_be_drawn_are_refused_first(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    """Low: `inspect --sheet x.foo`; `--split train+val` said that the data are damaged. Finding 14: `sheet.txt`."""
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    result = call("inspect", "data", "--verify", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


@pytest.mark.parametrize("name", ["x.png", "x.pdf", "x.svg"])
def test_a_sheet_in_a_folder_that_is_made(data: Path, tmp_path: Path, name: str) -> None:
    result = call("inspect", data, "--sheet", tmp_path / "new" / "folder" / name)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "new" / "folder" / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("out", "told"), [("x.foo", "of this kind"), ("data/x.png", "within the data set"), ("data", "of this kind")]
)
def test_previews_that_cannot_be_drawn_are_refused_first(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("preview", "data", "--out", out)
    assert result.exit_code == 2
    assert told in result.stderr
    assert call("preview", "data", "--seed", 10**25).exit_code == 2


def test_any_class_name_in_tables_and_pictures(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M5, through the commands."""
    from fastsketch.formats.metadata import DatasetMetadata

    names = ["$x_{$", "[bold]x[/bold]", "\x1b[31mred\nline", "long " * 200, "[/]"]
    metadata = DatasetMetadata.load(data).model_copy(update={"classes": names})
    monkeypatch.setattr(DatasetMetadata, "load", lambda folder: metadata)
    inspected = call("inspect", data, "--sheet", tmp_path / "sheet.png")
    assert inspected.exit_code == 0, inspected.stderr
    last = inspected.stdout.splitlines()[-2]
    assert last.startswith("classes: $x_{$, [bold]x[/bold], \\x1b[31mred\\nline, long long")
    assert last.endswith("long long , [/]")
    assert len(last) < 200
    assert len(CLASSES) == len(names)
    previewed = call("preview", data, "--out", tmp_path / "preview.png")
    assert previewed.exit_code == 0, previewed.stderr
