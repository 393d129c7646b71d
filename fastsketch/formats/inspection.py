"""What is in a converted data set: ink statistics, and a check of every byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.ink import PATCH


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
