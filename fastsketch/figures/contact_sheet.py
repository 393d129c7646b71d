"""A contact sheet of a data set: one sketch each of its classes, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastsketch.errors import ConfigError
from fastsketch.figures.picture import check_picture
from fastsketch.figures.sheet import Cell, draw_sheet, in_rows
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit, spread

MOST_CLASSES = 48
"""Of more classes a sample is shown, spread evenly over their order."""

SIDE = 1.4
"""Inches a sketch."""


def check_sheet(path: Path, folder: Path, dataset: DatasetMetadata, split: str) -> None:
    """Whether `draw_contact_sheet` can be called with the same arguments; nothing is read yet.

    Raises:
        ConfigError: It cannot: the picture's name or place will not do, or the data set has no such split.
    """
    check_picture(path, dataset=folder)
    if split not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ConfigError(f"a contact sheet shows one split, and there is no '{split}' split", hint=f"it has: {known}")


def draw_contact_sheet(path: Path, folder: Path, dataset: DatasetMetadata, split: str) -> None:
    """Draw the first sketch of each class that the split has, of up to 48 of them, with their names.

    Raises:
        ConfigError: See `check_sheet`.
        DataError: The split is damaged.
    """
    check_sheet(path, folder, dataset, split)
    samples = PackSplit(folder, dataset, split)
    present, first = np.unique(samples.labels, return_index=True)
    chosen = spread(len(present), MOST_CLASSES)
    cells = [Cell(samples.images[first[each], 0], [dataset.classes[present[each]]]) for each in chosen]
    classes = f"{len(dataset.classes)} classes"
    shown = f"all {classes}" if len(chosen) == len(dataset.classes) else f"{len(chosen)} of {classes}"
    title = f"{folder.resolve().name[:40]}, {split}: {len(samples):,} sketches, {shown} shown"
    draw_sheet(path, in_rows(cells), title, side=SIDE)
