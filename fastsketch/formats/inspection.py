"""What is in a converted data set: ink statistics, a contact sheet to look at, and a check of every byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastsketch.errors import ConfigError
from fastsketch.figures.picture import caption, check_picture, plain_letters, save_figure
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.ink import PATCH

SHEET = (8, 6)
"""Columns and rows of a contact sheet."""

NAME_LETTERS = 40
"""So many letters of a class name are written, in two lines where need be."""


@dataclass(frozen=True, slots=True)
class InkStatistics:
    """How many of a sample's 16 × 16 patches hold ink: what a transformer that skips blank paper has to look at.

    Attributes:
        patches: Patches an image has.
        mean: Of the patches with ink over all samples.
        median: Likewise.
        quantile_95: 95 % of the samples have no more.
        quantile_99: 99 % of the samples have no more.
        blank: Samples without any ink.
    """

    patches: int
    mean: float
    median: float
    quantile_95: float
    quantile_99: float
    blank: int


def ink_statistics(split: PackSplit) -> InkStatistics:
    """The ink of a split, from the counts that conversion took."""
    median, quantile_95, quantile_99 = (float(value) for value in np.quantile(split.ink, (0.5, 0.95, 0.99)))
    return InkStatistics(
        patches=math.ceil(split.images.shape[-1] / PATCH) ** 2,
        mean=float(split.ink.mean()),
        median=median,
        quantile_95=quantile_95,
        quantile_99=quantile_99,
        blank=int((split.ink == 0).sum()),
    )


def verify(folder: Path, dataset: DatasetMetadata, progress: Callable[[str, int], None] | None = None) -> int:
    """Read every file of all formats and compare its checksum; return the bytes read.

    Args:
        folder: The data set.
        dataset: Its metadata.
        progress: Told the name and the bytes of each file before it is read.

    Raises:
        DataError: A file is missing, truncated, or not as it was written.
    """
    files = [file for record in dataset.splits.values() for file in record.all_files()]
    for file in files:
        if progress:
            progress(file.name, file.bytes)
        file.verify(folder)
    return sum(file.bytes for file in files)


def check_sheet(path: Path, folder: Path, dataset: DatasetMetadata, split: str) -> None:
    """Whether `contact_sheet` can be called with the same arguments; nothing is read yet.

    Raises:
        ConfigError: It cannot: the picture's name or place will not do, or the data set has no such split.
    """
    check_picture(path, dataset=folder)
    if split not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ConfigError(f"a contact sheet shows one split, and there is no '{split}' split", hint=f"it has: {known}")


@plain_letters()
def contact_sheet(path: Path, folder: Path, dataset: DatasetMetadata, split: str) -> None:
    """Draw one sketch each of up to 48 classes, spread over the alphabet, with their names.

    Raises:
        ConfigError: See `check_sheet`.
        DataError: The split is damaged.
    """
    check_sheet(path, folder, dataset, split)
    columns, rows = SHEET
    samples = PackSplit(folder, dataset, split)
    present = np.unique(samples.labels)
    chosen = present[np.linspace(0, len(present) - 1, min(columns * rows, len(present))).round().astype(int)]
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(1.5 * columns, 1.72 * rows + 0.5), layout="constrained")
    name = caption(folder.resolve().name, NAME_LETTERS)
    figure.suptitle(f"{name}, {split}: {len(samples):,} sketches of {len(dataset.classes)} classes")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, label in zip(grid, chosen, strict=False):
        index = int(np.searchsorted(samples.labels, label))  # the pack is sorted by class
        axes.imshow(samples.images[index, 0], cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.set_title(caption(dataset.classes[label], NAME_LETTERS), fontsize=8, wrap=True)
    save_figure(figure, path)
