"""White on black, chalkboards and photographs become dark ink on white paper, and clean sketches stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fastsketch import Classifier
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.conversion.decode import Reading, decode, decode_seen
from fastsketch.conversion.paper import Look, as_ink_on_paper, clean_photo, look_at
from fastsketch.errors import BackendMissing, ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.sources import open_source
from fastsketch.sources.sample import ImageSample

Pixels = npt.NDArray[np.uint8]


def drawing(seed: int = 0, size: tuple[int, int] = (300, 240), width: int = 3) -> Pixels:
    """Black lines on white; some leave the picture."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        points = (rng.uniform(-0.05, 1.05, (4, 2)) * size).tolist()
        pen.line([tuple(point) for point in points], fill=0, width=width)
    return np.array(image)


def photograph(clean: Pixels, seed: int = 0, *, bright: float = 210, dark: float = 110, noise: float = 3) -> Pixels:
    """The same on gray paper, in light that falls off to one corner, with a soft shadow, pencil lines and noise."""
    rng = np.random.default_rng(seed)
    height, width = clean.shape
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = bright - (bright - dark) * (rows + columns) / 2
    light -= 25 / (1 + np.exp(-30 * (columns - 0.6)))
    lines = 1 - 0.6 * (255 - clean) / 255  # a pencil leaves two fifths of the light
    return np.clip(light * lines + rng.normal(0, noise, clean.shape), 0, 255).round().astype(np.uint8)


def chalkboard(clean: Pixels, seed: int = 0) -> Pixels:
    return 255 - photograph(clean, seed, bright=230, dark=180)


# -------------------------------------------------------------------------------------------------------------- looks


@pytest.mark.parametrize("seed", range(8))
def test_what_an_image_looks_like(seed: int) -> None:
    clean = drawing(seed)
    assert look_at(clean) == Look()
    assert look_at(255 - clean) == Look(inverted=True)
    assert look_at(photograph(clean, seed)) == Look(gray=True)
    assert look_at(chalkboard(clean, seed)) == Look(inverted=True)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 255))
@settings(deadline=None)
def test_every_size_has_a_look(height: int, width: int, value: int) -> None:
    look = look_at(np.full((height, width), value, np.uint8))
    assert look == Look(inverted=value < 128, gray=128 <= value < 248)


def test_a_quarter_of_the_border_may_be_ink() -> None:
    image = np.full((200, 200), 255, np.uint8)
    image[:, 0] = 0  # one whole edge
    assert look_at(image) == Look()
    image[0, :] = image[:, -1] = 0
    assert look_at(image) != Look()


# ----------------------------------------------------------------------------------------------------------- clean up


def agreement(found: Pixels, clean: Pixels) -> tuple[float, float]:
    """Shares of the true lines that are dark, and of the paper away from lines that is white."""
    ink = clean < 128
    near = np.zeros_like(ink)
    for rows in range(-2, 3):
        for columns in range(-2, 3):
            near |= np.roll(ink, (rows, columns), (0, 1))
    return float((found[ink] < 128).mean()), float((found[~near] >= 248).mean())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make", [photograph, chalkboard])
@pytest.mark.parametrize("size", [(300, 240), (900, 1200)], ids=["small", "large"])
def test_a_photograph_becomes_a_drawing(
    make: Callable[[Pixels, int], Pixels], seed: int, size: tuple[int, int]
) -> None:
    pytest.importorskip("cv2")
    clean = drawing(seed, size, width=max(size) // 100)
    found = as_ink_on_paper(make(clean, seed), Reading(64, invert="auto", clean_photo=True))
    lines, paper = agreement(found, clean)
    assert lines > 0.95
    assert paper > 0.98
    assert look_at(found) == Look()


def test_a_clean_drawing_stays_one() -> None:
    pytest.importorskip("cv2")
    for seed in range(4):
        clean = drawing(seed)
        found = clean_photo(clean)
        assert (np.abs(found.astype(int) - clean) > 40).mean() < 0.005
        assert agreement(found, clean) > (0.99, 0.999)


def test_a_blank_sheet_stays_blank() -> None:
    pytest.importorskip("cv2")
    for blank in (
        np.full((80, 60), 255, np.uint8),
        photograph(np.full((80, 60), 255, np.uint8)),
        np.zeros((5, 5), np.uint8),
    ):
        assert (clean_photo(blank) == 255).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_every_image_can_be_cleaned(height: int, width: int, seed: int) -> None:
    pytest.importorskip("cv2")
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    found = clean_photo(noise)
    assert (found.shape, found.dtype) == (noise.shape, np.uint8)


@pytest.mark.parametrize("invert", ["no", "auto", "yes"])
def test_what_is_turned_over(tmp_path: Path, invert: str) -> None:
    for name, image in (("dark", 255 - drawing()), ("light", drawing())):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        sample = ImageSample(name, tmp_path / f"{name}.png")
        plain, turned = decode(sample, Reading(64)), decode(sample, Reading(64, invert=invert))
        over = invert == "yes" or (invert == "auto" and name == "dark")
        inner = np.s_[8:-8]  # of what is not square the rest stays white paper
        assert (turned[inner] == (255 - plain if over else plain)[inner]).all()
        assert decode_seen(sample, Reading(64, invert=invert))[1].inverted == ((name == "dark") != over)


def test_paper_beside_what_was_turned_over_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 60), np.uint8)).save(tmp_path / "x.png")
    assert (decode(ImageSample("x", tmp_path / "x.png"), Reading(60, invert="auto")) == 255).all()


# ----------------------------------------------------------------------------------------------------- in a data set


def write(root: Path) -> Path:
    for number in range(12):
        image = drawing(number, (60, 60), 2)
        image = (image, 255 - image, photograph(image, number))[number % 3]
        path = root / ("ant", "bee")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def converted(root: Path, folder: Path, **settings: object) -> DatasetMetadata:
    config = ConvertConfig.model_validate({"size": 32, "split": "6/0/0", "workers": 1, **settings})
    return convert_dataset(open_source(root), folder, config)


def test_the_data_set_says_how_it_was_read_and_what_looks_wrong(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    root = write(tmp_path / "raw")
    cases: list[tuple[dict[str, Any], int, int]] = [
        ({}, 4, 4),
        ({"invert": "auto"}, 0, 4),
        ({"invert": "auto", "clean_photo": True}, 0, 0),
        ({"invert": "yes"}, 8, 0),
    ]
    for number, (settings_, inverted, gray) in enumerate(cases):
        folder = tmp_path / str(number)
        metadata = converted(root, folder, **settings_)
        assert (metadata.looks_inverted, metadata.looks_gray) == (inverted, gray)
        assert DatasetMetadata.load(folder) == metadata
        reading = Reading(32, "bilinear", settings_.get("invert", "no"), settings_.get("clean_photo", False))
        assert Reading.of(metadata) == reading
        stored = PackSplit(folder, metadata, "train")
        for name, image in zip(stored.ids(), stored.images, strict=True):
            assert np.array_equal(decode(ImageSample(name, root / name), reading), image[0])


def test_of_clean_sketches_nothing_is_said(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "raw" / ("ant", "bee")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing(number)).save(path)
    converted(tmp_path / "raw", tmp_path / "data", split="2/0/0")
    written = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert not {"invert", "clean_photo", "looks_inverted", "looks_gray"} & written.keys()


def test_another_reading_is_another_data_set(tmp_path: Path) -> None:
    root = write(tmp_path / "raw")
    converted(root, tmp_path / "data")
    before = (tmp_path / "data" / "dataset.json").read_bytes()
    converted(root, tmp_path / "data")
    with pytest.raises(ConfigError, match="exists"):
        converted(root, tmp_path / "data", invert="auto")
    assert (tmp_path / "data" / "dataset.json").read_bytes() == before


def test_the_command_says_what_helps(tmp_path: Path) -> None:
    root = write(tmp_path / "raw")
    command = [sys.executable, "-m", "fastsketch", "convert", str(root), str(tmp_path / "data"), "--size", "32"]
    said = subprocess.run([*command, "--split", "6/0/0"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "4 images look light on dark: --invert auto" in said
    assert "4 images look photographed, on gray paper: --clean-photo" in said


def test_without_opencv_it_is_told_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendMissing, match="OpenCV cannot be imported") as caught:
        converted(write(tmp_path / "raw"), tmp_path / "data", clean_photo=True)
    assert "'.[photo]'" in (caught.value.hint or "")
    assert not (tmp_path / "data.partial").exists()


def test_a_model_reads_as_its_data_set_was_read(tmp_path: Path) -> None:
    from trained import MODELS, make_run

    from fastsketch.inference.saved import SavedModel

    pytest.importorskip("cv2")
    root = write(tmp_path / "raw")
    metadata = converted(root, tmp_path / "data", split="3/3/0", invert="auto", clean_photo=True)
    metadata = metadata.model_copy(update={"classes": ["ant", "bee", "cat", "dog", "eel", "fox"]})
    run = make_run(tmp_path / "run", metadata, tmp_path / "data", **MODELS["cnn"])
    found, alone = SavedModel.find(run), SavedModel.find(run.best)
    assert found.reading == alone.reading == Reading(32, "bilinear", "auto", True)
    assert found.read_as("no", None).reading == Reading(32, "bilinear", "no", True)
    assert found.read_as(None, False).reading == Reading(32, "bilinear", "auto", False)
    with pytest.raises(ConfigError, match="--invert perhaps"):
        found.read_as("perhaps", None)
    stored = PackSplit(tmp_path / "data", metadata, "val")
    asked = Classifier.load(run).predict([root / name for name in stored.ids()])
    seen = Classifier.load(run, invert="no", clean_photo=False).predict([image[0] for image in stored.images])
    assert [each.labels for each in asked] == [each.labels for each in seen]
