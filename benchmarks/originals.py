"""Raw sketches to convert: TU-Berlin's, where they are at hand, else our own drawings of the same size."""

from __future__ import annotations

import os
from pathlib import Path

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.sources import open_source
from fastsketch.workers import available_cpus

SHARED = Path(os.environ.get("FASTSKETCH_DATA", Path(__file__).resolve().parent.parent.parent / "shared"), "data")
"""Real data, if there are any."""


def sketch_folder(folder: Path, copies: int = 1, per_class: int = 60) -> Path:
    """An ImageFolder of 1111 px sketches of 11 classes, each `copies` times (by links); made in `folder`."""
    originals = SHARED / "tuberlin1111"
    if not originals.is_dir():
        originals = _drawn(folder / "drawn", per_class) / "train"
    linked = folder / f"sketches-{copies}"
    for source in sorted(path for path in originals.iterdir() if path.is_dir()):
        (linked / source.name).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.glob("*.png"))[:per_class]:
            for copy in range(copies):
                link = linked / source.name / f"{path.stem}-{copy}.png"
                if not link.is_symlink():
                    link.symlink_to(path.resolve())
    return linked


def labelled_sketches(folder: Path, per_class: int) -> Path:
    """An ImageFolder of a few sketches of each of TU-Berlin's 250 classes, or of our drawn ones; made in `folder`."""
    source = SHARED / "tuberlin224" / "train"
    if not source.is_dir():
        source = _drawn(folder / "drawn", per_class) / "train"
    linked = folder / f"sketches-of-{per_class}"
    for group in sorted(source.iterdir()):
        (linked / group.name).mkdir(parents=True, exist_ok=True)
        for path in sorted(group.glob("*.png"))[:per_class]:
            link = linked / group.name / path.name
            if not link.is_symlink():
                link.symlink_to(path.resolve())
    return linked


def labelled_dataset(folder: Path, size: int, classes: int | None) -> Path:
    """TU-Berlin's training and validation sketches of the first `classes`, or our drawn ones, converted in `folder`."""
    real = SHARED / "tuberlin224"
    path, split = (real, None) if real.is_dir() else (labelled_sketches(folder, 60), "48/12")
    source = open_source(path)
    classes = classes and min(classes, len(source.class_names))
    convert_dataset(source, folder / "sketches", ConvertConfig(size=size, split=split, classes=classes))
    return folder / "sketches"


def _drawn(folder: Path, per_class: int) -> Path:
    from fastsketch.demo.dataset import draw_dataset

    draw_dataset(folder, counts={"train": per_class}, size=1111, workers=available_cpus())
    return folder
