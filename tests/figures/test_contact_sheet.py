from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from packs import CLASSES, write_pack
from PIL import Image

from fastsketch.errors import ConfigError
from fastsketch.figures.contact_sheet import draw_contact_sheet
from fastsketch.formats.metadata import DatasetMetadata


def test_each_class_is_shown(tmp_path: Path) -> None:
    metadata = write_pack(tmp_path / "data", {"train": 40}, size=32)
    draw_contact_sheet(tmp_path / "sheet.png", tmp_path / "data", metadata, "train")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    # Noise is neither black nor white, all else on the sheet is: count the columns that are noise.
    gray = ((sheet > 30) & (sheet < 225)).mean(axis=0) > 0.2
    starts = np.flatnonzero(np.diff(gray.astype(int)) == 1)
    assert len(starts) >= len(CLASSES)
    assert list(tmp_path.glob(".*")) == []


def test_a_sample_of_many_classes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[Figure]) -> None:
    monkeypatch.setattr("packs.CLASSES", [f"class {index:03d}" for index in range(100)])
    metadata = write_pack(tmp_path / "data", {"train": 200, "val": 30}, size=16)
    for split in ("train", "val"):
        draw_contact_sheet(tmp_path / f"{split}.png", tmp_path / "data", metadata, split)
    many, few = drawn
    assert many.texts[0].get_text() == "data, train: 200 sketches, 48 of 100 classes shown"
    names = [text.get_text() for axes in many.axes for text in axes.texts]
    assert names[0] == "class 000"
    assert names[-1] == "class 099"
    assert names == sorted(set(names))
    assert len(names) == 48
    assert few.texts[0].get_text() == "data, val: 30 sketches, 30 of 100 classes shown"


def test_all_classes_are_said_to_be_all(tmp_path: Path, drawn: list[Figure]) -> None:
    metadata = write_pack(tmp_path / "data", {"train": 40}, size=16)
    draw_contact_sheet(tmp_path / "x.png", tmp_path / "data", metadata, "train")
    assert drawn[0].texts[0].get_text() == "data, train: 40 sketches, all 5 classes shown"


def test_it_names_its_splits(tmp_path: Path) -> None:
    """Low: `--sheet x.png --split train+val` said that the data are damaged."""
    write_pack(tmp_path / "data", {"train": 12, "val": 6})
    metadata = DatasetMetadata.load(tmp_path / "data")
    for split in ("train+val", "test", "", "../train"):
        with pytest.raises(ConfigError, match="a contact sheet shows one split") as caught:
            draw_contact_sheet(tmp_path / "x.png", tmp_path / "data", metadata, split)
        assert caught.value.hint == "it has: train, val"
