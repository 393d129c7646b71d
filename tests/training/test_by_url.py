"""A training on a data set at a URL is the training on a copy of it, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ends import recipe, train, write_data
from fastsketch_cli.app import app
from remote import Unsteady, always, held, put, store
from typer.testing import CliRunner

from fastsketch.errors import DataError, FastSketchError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats import cache
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.prepare import prepare
from fastsketch.training.run.directory import Run

__all__ = ["store"]

URL = Path("unsteady://bucket/data")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "BLOCK", 5_000)
    put(write_data(tmp_path / "data"), "unsteady://bucket/data")
    cache._sparse.clear()
    return tmp_path / "data"


def weights(root: Path) -> bytes:
    return (root / "best/model.safetensors").read_bytes()


@pytest.mark.parametrize("loader", ["pack", "resident"])
def test_it_ends_in_the_same_weights(local: Path, tmp_path: Path, loader: str) -> None:
    before = held("unsteady://bucket/data")
    for data, root in ((local, tmp_path / "ours"), (URL, tmp_path / "theirs")):
        train(recipe(data, f"data.loader={loader}"), root)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")
    assert Run(tmp_path / "theirs").config.read_text().count("path: unsteady://bucket/data\n") == 1
    assert held("unsteady://bucket/data") == before, "nothing is written there"
    assert evaluate_run(tmp_path / "theirs", "val").scores == evaluate_run(tmp_path / "ours", "val").scores


@pytest.mark.slow
def test_it_is_resumed_from_the_url(local: Path, tmp_path: Path) -> None:
    for data, root in ((local, tmp_path / "ours"), (URL, tmp_path / "theirs")):
        train(recipe(data, "data.loader=pack", "training.epochs=1"), root)
        train(prepare(overrides=["training.epochs=2"], out=root, resume=True).recipe, root)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")


@pytest.mark.parametrize("loader", ["pack", "resident"])
def test_damage_there_is_not_learned(local: Path, tmp_path: Path, loader: str) -> None:
    files = Unsteady()
    content = files.cat_file("/bucket/data/train.images.u8")
    files.pipe_file("/bucket/data/train.images.u8", bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match=r"train\.images\.u8 is not as it was written"):
        train(recipe(URL, f"data.loader={loader}"), tmp_path / "run")
    assert not (tmp_path / "run/best/model.safetensors").exists()


@pytest.mark.slow
def test_the_network_goes_while_it_trains(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsketch.formats.pack.PackSplit.fetch_behind", lambda self: None)
    monkeypatch.setattr(cache, "RUN", 1)
    begun = ("cat_file", "train.images.u8")
    Unsteady.failure = staticmethod(lambda number: OSError("gone") if Unsteady.calls.count(begun) > 3 else None)
    with pytest.raises(FastSketchError, match=r"unsteady://bucket/data/.*: gone"):
        train(recipe(URL, "data.loader=pack"), tmp_path / "theirs")
    Unsteady.failure = staticmethod(lambda number: None)
    for data, root in ((local, tmp_path / "ours"), (URL, tmp_path / "theirs")):
        train(recipe(data, "data.loader=pack"), root)
    assert weights(tmp_path / "theirs") == weights(tmp_path / "ours")


@pytest.mark.slow
def test_commands_take_a_url(local: Path, tmp_path: Path) -> None:
    train(recipe(local), tmp_path / "run")
    said = {}
    for data in (str(local), "unsteady://bucket/data"):
        out = tmp_path / "out.jsonl"
        for command in (
            ["inspect", data, "--verify", "--sheet", str(tmp_path / "sheet.png")],
            ["evaluate", str(tmp_path / "run"), "--data", data],
            ["predict", str(tmp_path / "run"), data, "--out", str(out)],
        ):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 0, result.output
            said[command[0], data] = result.output.replace(data, "DATA")
        said["rows", data] = json.dumps([json.loads(line) for line in out.read_text().splitlines()])
        out.unlink()
    assert said["rows", str(local)] == said["rows", "unsteady://bucket/data"]
    assert said["inspect", str(local)] == said["inspect", "unsteady://bucket/data"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "unsteady://bucket/none", "data"], 2, "unsteady://bucket/none: no such file or folder"),
        (["convert", "unsteady://bucket/data"], 2, "nothing is added to one at a URL"),
        (["convert", "unsteady://bucket/data", "x"], 2, "unsteady://bucket/data is a data set already"),
        (["train", "unsteady://bucket/none"], 2, "unsteady://bucket/none is not a converted data set"),
        (["inspect", "unsteady://bucket"], 2, "unsteady://bucket is not a converted data set"),
        (["predict", "run", "unsteady://bucket/1.png"], 2, "nothing else is asked for by URL"),
    ],
)
def test_what_cannot_be_meant(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    if "run" in arguments:
        train(recipe(local, "training.epochs=1"), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_a_url_that_refuses(local: Path) -> None:
    Unsteady.failure = always(lambda: PermissionError("Forbidden"))
    for command in (["inspect"], ["train"], ["convert"]):
        result = CliRunner().invoke(app, [*command, "unsteady://bucket/data"])
        assert result.exit_code == 1
        assert "refused (Forbidden)" in " ".join(result.output.split())


def test_the_cache_is_keyed_by_url_and_content(local: Path) -> None:
    DatasetMetadata.load(URL)
    put(local, "unsteady://bucket/other")
    DatasetMetadata.load(Path("unsteady://bucket/other"))
    assert cache.place(URL) != cache.place(Path("unsteady://bucket/other"))
