from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converting import SIZE, changed, content
from PIL import Image

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.formats.pack import PackSplit
from fastsketch.sources import open_source

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# -------------------------------------------------------------------------------------------- the command's answers


def one_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The error line of a command that failed as it should."""
    assert "Traceback" not in finished.stderr
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_the_command_says_what_it_did(damaged: Path, tmp_path: Path, run_fastsketch: Run) -> None:
    finished = run_fastsketch(
        "convert", damaged, tmp_path / "out", "--size", SIZE, "--split", "0.5/0.5", "--workers", 1
    )
    assert finished.returncode == 0, finished.stderr
    assert "57 images of 3 classes at 24 px" in finished.stdout
    assert "skipped circle/003.png: not an image" in finished.stdout
    assert "3 unreadable images skipped" in finished.stdout
    convert_dataset(open_source(damaged), tmp_path / "library", changed(split="0.5/0.5"))
    assert content(tmp_path / "out") == content(tmp_path / "library")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{tmp}/empty", "{tmp}/out"], 1, "no class folders with images"),
        (["{tmp}/loose", "{tmp}/out"], 1, "no class folders with images"),
        (["{tmp}/nothing", "{tmp}/out"], 2, "no such file or folder"),
        (["{damaged}", "{tmp}/full"], 2, "exists"),
        (["{damaged}", "{tmp}/out", "--strict", "--workers", "1"], 1, "circle/003.png: not an image"),
        (["{damaged}", "{tmp}/out", "--split", "half"], 2, "'half' is not a split"),
        (["{damaged}", "{tmp}/out", "--resize", "sharp", "--size", "1"], 2, "2 problems in the options:"),
    ],
)
def test_exit_codes_and_one_clear_line(
    damaged: Path, tmp_path: Path, run_fastsketch: Run, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("loose", "full"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    finished = run_fastsketch("convert", *(text.format(tmp=tmp_path, damaged=damaged) for text in arguments))
    assert finished.returncode == code, finished.stderr
    assert said in one_line(finished)
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------------- real data


def test_a_few_classes_of_tu_berlin(shared_data: Path, tmp_path: Path) -> None:
    source = open_source(shared_data / "data/tuberlin224")
    assert len(source.class_names) == 250
    assert "train" in source.class_names
    metadata = convert_dataset(source, tmp_path / "out", ConvertConfig(size=64, classes=3, workers=1))
    assert {name: record.samples for name, record in metadata.splits.items()} == {"train": 144, "val": 27}
    assert metadata.skipped == []


@pytest.mark.slow
def test_tu_berlin(shared_data: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(open_source(shared_data / "data/tuberlin224"), tmp_path / "out", ConvertConfig())
    assert len(metadata.classes) == 250
    assert metadata.skipped == []
    for name, per_class in (("train", 48), ("val", 9)):
        split = PackSplit(tmp_path / "out", metadata, name)
        assert len(split) == 250 * per_class
        np.testing.assert_array_equal(split.labels, np.repeat(np.arange(250), per_class))
    # At its own size a pre-decoded image is the very PNG.
    split = PackSplit(tmp_path / "out", metadata, "val")
    for row in (0, 1000, 2249):
        with Image.open(shared_data / "data/tuberlin224" / split.ids()[row]) as image:
            np.testing.assert_array_equal(split.images[row, 0], np.asarray(image))


def test_the_originals_of_tu_berlin(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "data/tuberlin1111"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    config = ConvertConfig(size=64, classes=2, workers=1, split="48/12")
    metadata = convert_dataset(open_source(folder), tmp_path / "out", config)
    assert {name: record.samples for name, record in metadata.splits.items()} == {"train": 96, "val": 24}
    # Lines of five pixels in 1111 are still there at 64.
    assert PackSplit(tmp_path / "out", metadata, "train").ink.min() > 3


def test_a_few_classes_of_quickdraw(shared_data: Path, tmp_path: Path) -> None:
    config = ConvertConfig(size=64, classes=2, workers=1, split="100/25/25")
    metadata = convert_dataset(open_source(shared_data / "data/quickdraw-strokes"), tmp_path / "out", config)
    counts = {name: record.samples for name, record in metadata.splits.items()}
    assert counts == {"train": 200, "val": 50, "test": 50}
    assert metadata.skipped == []


@pytest.mark.slow
def test_quickdraw(shared_data: Path, tmp_path: Path) -> None:
    metadata = convert_dataset(
        open_source(shared_data / "data/quickdraw-strokes"), tmp_path / "out", ConvertConfig(size=28)
    )
    assert len(metadata.classes) == 345
    counts = {name: record.samples for name, record in metadata.splits.items()}
    assert counts == {"train": 345 * 120, "val": 345 * 15, "test": 345 * 15}
    assert metadata.skipped == []
