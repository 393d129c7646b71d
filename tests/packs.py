"""Data sets of noise with ink on it, written in an instant: what is in an image matters to no loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsketch.errors import BackendMissing
from fastsketch.formats.beton import require_ffcv
from fastsketch.formats.export import FORMATS, export
from fastsketch.formats.metadata import DatasetMetadata, SourceRecord, SplitRecord, format_version
from fastsketch.formats.pack import PackWriter
from fastsketch.ink import count_ink_patches

CLASSES = ["ant", "bee", "cat", "dog", "eel"]
_LIBRARIES = {"ffcv": "ffcv", "dali": "nvidia.dali"}


def write_pack(folder: Path, counts: dict[str, int], size: int = 24) -> DatasetMetadata:
    """A data set of `counts` samples a split, sorted by class, every image another."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in counts.items():
        images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        labels = [index * len(CLASSES) // count for index in range(count)]
        with PackWriter(folder, split, size) as writer:
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
        format_version=format_version(splits),
        skipped=[],
    )
    metadata.save(folder)
    return metadata


def write_all_formats(folder: Path, counts: dict[str, int], size: int = 24) -> DatasetMetadata:
    """The same, in all formats."""
    metadata = export(folder, write_pack(folder, counts, size), FORMATS)
    metadata.save(folder)
    return metadata


def write_formats_at_hand(folder: Path, counts: dict[str, int], size: int = 24) -> DatasetMetadata:
    """The same, without FFCV's where it is not installed: the other loaders need none of its files."""
    try:
        require_ffcv()
    except BackendMissing:
        formats = [format for format in FORMATS if format != "ffcv"]
    else:
        formats = list(FORMATS)
    metadata = export(folder, write_pack(folder, counts, size), formats)
    metadata.save(folder)
    return metadata


def skip_without_library(loader: str) -> None:
    """Skip a test of a loader whose own library is not installed; `resident` and `pack` need none."""
    if loader in _LIBRARIES:
        pytest.importorskip(_LIBRARIES[loader])
