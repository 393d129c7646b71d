"""Data sets of noise with ink on it, written in an instant: what is in an image matters to no loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastsketch.formats.export import FORMATS, export
from fastsketch.formats.metadata import DatasetMetadata, SourceRecord, SplitRecord
from fastsketch.formats.pack import PackWriter
from fastsketch.ink import count_ink_patches

CLASSES = ["ant", "bee", "cat", "dog", "eel"]


def write_pack(folder: Path, counts: dict[str, int], size: int = 24) -> DatasetMetadata:
    """A data set of `counts` samples a split, sorted by class, every image another."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in counts.items():
        images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        labels = [index * len(CLASSES) // count for index in range(count)]
        with PackWriter(folder, split) as writer:
            ids = [f"{CLASSES[label]}/{split}-{index}.png" for index, label in enumerate(labels)]
            writer.append(images, labels, count_ink_patches(images), ids)
            splits[split] = SplitRecord(samples=count, pixel_mean=0.5, pixel_std=0.3, files=writer.finish())
    metadata = DatasetMetadata(
        fastsketch="test",
        source=SourceRecord(kind="folder", split=None, seed=None),
        size=size,
        resize="bilinear",
        classes=CLASSES,
        splits=splits,
        skipped=[],
    )
    metadata.save(folder)
    return metadata


def write_all_formats(folder: Path, counts: dict[str, int], size: int = 24) -> DatasetMetadata:
    """The same, in all formats."""
    metadata = export(folder, write_pack(folder, counts, size), FORMATS)
    metadata.save(folder)
    return metadata
