"""Pack → the other formats: raw pixels are copied, nothing is decoded again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from fastsketch.formats.beton import write_beton
from fastsketch.formats.metadata import DatasetMetadata, FileRecord
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.tar import write_tars

log = logging.getLogger(__name__)

FORMATS = ("ffcv", "dali")
"""The formats that can lie beside the pack, in the order in which they are written and recorded."""


def export(folder: Path, dataset: DatasetMetadata, formats: Iterable[str]) -> DatasetMetadata:
    """Write a data set's splits in other formats beside its pack; return metadata that record them.

    The caller saves the metadata: until then the data set is what it was.

    Args:
        folder: The data set.
        dataset: Its metadata.
        formats: Some of `FORMATS`; those that are recorded already are left as they are.

    Raises:
        BackendMissing: The format's library is not installed.
        DataError: A file of the pack is missing or truncated.
    """
    wanted = set(formats)
    splits = {}
    for name, record in dataset.splits.items():
        written = dict(record.formats)
        split = PackSplit(folder, dataset, name)
        for format in FORMATS:
            if format in wanted and format not in written:
                log.info("writing the %s split for %s", name, format)
                written[format] = [FileRecord.of(path) for path in _write(folder, name, split, format)]
        in_order = {format: written[format] for format in FORMATS if format in written}
        splits[name] = record.model_copy(update={"formats": in_order})
    return dataset.model_copy(update={"splits": splits})


def _write(folder: Path, name: str, split: PackSplit, format: str) -> list[Path]:
    if format == "dali":
        return write_tars(folder, name, split)
    beton = folder / f"{name}.beton"
    if not beton.exists():
        write_beton(beton, split)
    return [beton]
