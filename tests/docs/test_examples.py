"""The pages' Python runs as it stands there."""

from __future__ import annotations

import csv
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, blocks

from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit

SOURCE, LOADER, AUGMENTATION = blocks(DOCS / "extending.md", "python")
UNEVEN = {"circle": 4, "cross": 8, "square": 16}
"""Sketches of each class."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw_shapes: Callable[..., Path]) -> Path:
    """Where the examples run: with sketches and their `labels.csv`, and with what the first makes of them."""
    folder = tmp_path_factory.mktemp("examples")
    sketches = draw_shapes(folder / "sketches", per_class=max(UNEVEN.values()), size=48)
    with (sketches / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label"])
        table.writerows((f"{name}/{n:03d}.png", f"a {name}") for name, count in UNEVEN.items() for n in range(count))
    (folder / "source.py").write_text(SOURCE, encoding="utf-8")  # a file, for its worker processes to import
    done = subprocess.run([sys.executable, "source.py"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """A function that runs a program in the folder, as its main one, and returns the names that it leaves."""

    def run(program: str) -> dict[str, Any]:
        monkeypatch.chdir(folder)
        (folder / "example.py").write_text(program, encoding="utf-8")
        return runpy.run_path("example.py", run_name="__main__")

    return run


def test_each_is_short() -> None:
    assert max(program.count("\n") for program in (SOURCE, LOADER, AUGMENTATION)) < 40


def test_the_source_reads_its_table_and_nothing_else(folder: Path) -> None:
    dataset = DatasetMetadata.load(folder / "data")
    assert dataset.classes == ["a circle", "a cross", "a square"]
    assert {split: record.samples for split, record in dataset.splits.items()} == {"train": 14, "val": 14}


def test_the_loader_trains_and_shows_each_class_alike(
    run: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    loader = run(LOADER)["train"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    epochs = [[batch.labels for batch in loader.epoch(number)] for number in range(100)]
    shares = [sum(int((labels == label).sum()) for epoch in epochs for labels in epoch) / 1200 for label in range(3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)
    again = [batch.labels.tolist() for batch in loader.epoch(5, skip=2)]
    assert again == [labels.tolist() for labels in epochs[5][2:]]
    assert list(loader.epoch(5, skip=len(loader))) == []


def test_the_augmentation_trains_and_rubs_out_a_tenth(
    run: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from fastsketch import SketchAugment

    left = run(AUGMENTATION)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    skipping, config = left["trainer"].step.augment, left["recipe"].augment
    assert type(skipping).__name__ == "SkippingPen"
    plain = SketchAugment(config, skipping.preprocess)
    black, labels = torch.zeros(64, 1, 32, 32, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64)
    params = plain.sample_params(64, torch.Generator().manual_seed(0))
    before, after = plain(black, labels, params)[0], skipping(black, labels, params)[0]
    assert (after >= before).all()
    assert (after > before)[before < 0.5].float().mean() == pytest.approx(0.1, abs=0.01)


def test_a_data_set_opens_with_numpy_alone(
    folder: Path, run: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    [numpy_alone, _] = blocks(DOCS / "on-disk.md", "python")
    left = run(numpy_alone.replace("data/sketches", "data"))
    assert capsys.readouterr().out == "a circle (14, 1, 32, 32)\n"
    split = PackSplit(folder / "data", DatasetMetadata.load(folder / "data"), "train")
    assert (left["images"] == split.images).all()
    assert (left["labels"] == split.labels).all()
