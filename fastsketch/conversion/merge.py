"""All parts of a conversion → the data set that one machine would have written, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fastsketch.config import ConvertConfig, validated
from fastsketch.conversion.convert import Progress, carry_out, destination_apart
from fastsketch.conversion.parts import StoredPart, StoredParts
from fastsketch.conversion.plan import Plan
from fastsketch.conversion.reading import Reading
from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.urls import url_of, written


def merge_parts(
    folders: Sequence[str | Path],
    destination: str | Path,
    *,
    overwrite: bool = False,
    format: str = "pack",
    progress: Progress | None = None,
) -> DatasetMetadata:
    """Put all parts of a conversion together.

    It is a conversion of what is stored already: interrupted, continued and refused as any other. One class at a time
    is compared with its checksums, then copied, so that the memory is that of listing the largest class.

    Args:
        folders: The parts, in any order.
        destination: The new data set.
        overwrite: Replace an existing one.
        format: What to write beside the pack, as `ConvertConfig.format`.
        progress: Told after every chunk.

    Raises:
        ConfigError: They are not all the parts of one conversion, each once, or `destination` is something else.
        DataError: A part is damaged.
        BackendMissing: The library of a format is not installed.
        FastSketchError: The disk is full, or another process is at it; the same command continues.
    """
    if by_url := [folder for folder in folders if url_of(folder)]:
        raise ConfigError(f"{written(by_url[0])}: parts are put together on a disk", hint="fetch all of them first")
    source = StoredParts([StoredPart(Path(os.path.realpath(folder))) for folder in folders])
    first = source.parts[0].metadata
    settings = {"overwrite": overwrite, "format": format, "workers": 1}  # there is nothing to decode
    config = validated(ConvertConfig, {**Reading.of(first)._asdict(), **settings}, "settings of merge")
    plan = Plan(
        source=source,
        roots=tuple(part.folder for part in source.parts),
        classes=source.class_names,
        spec=None,
        seed=0,
        record=first.source,
        settings=f"parts of {source.parts[0].record.plan}: {[part.state for part in source.parts]}",
        looks=(
            sum(part.metadata.looks_inverted for part in source.parts),
            sum(part.metadata.looks_gray for part in source.parts),
        ),
    )
    return carry_out(plan, destination_apart(destination, *plan.roots), config, progress)
