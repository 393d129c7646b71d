"""Pack → the other formats: raw pixels are copied, nothing is decoded again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastsketch.errors import DataError
from fastsketch.formats.beton import Beton
from fastsketch.formats.files import FileRecord
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.names import FORMATS, format_names
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.pieces import Piece, holds_pieces, write_pieces
from fastsketch.formats.tar import tar_files

__all__ = ["FORMATS", "export"]

log = logging.getLogger(__name__)


def export(folder: Path, dataset: DatasetMetadata, formats: Iterable[str], *, own: bool = True) -> DatasetMetadata:
    """Write a data set's splits in other formats beside its pack; return metadata that record them.

    Every byte follows from the pack. A file that is there already, recorded or not, is kept if it is what would be
    written. The caller saves the metadata: until then the data set is what it was.

    Args:
        folder: The data set.
        dataset: Its metadata.
        formats: Some of `FORMATS`.
        own: All in the folder is ours: a file that is something else is replaced. Otherwise it may be somebody's own,
            or damaged, and nothing is written.

    Raises:
        BackendMissing: The format's library is not installed.
        DataError: A file of the pack is missing or truncated; without `own` also, a file is there that is not what
            would be written.
    """
    wanted = [format for format in FORMATS if format in set(formats)]
    splits = {name: PackSplit(folder, dataset, name) for name in dataset.splits}
    kept = {
        path
        for name, split in splits.items()
        for format in wanted
        for path, pieces in _files(folder, name, split, format)
        if _is_there(path, pieces, own=own)
    }
    records = {}
    for name, split in splits.items():
        written = dict(dataset.splits[name].formats)
        for format in wanted:
            written[format] = []
            for path, pieces in _files(folder, name, split, format):
                if path not in kept:
                    log.info("writing %s", path)
                    write_pieces(path, pieces)
                written[format].append(FileRecord.of(path))
        in_order = {format: written[format] for format in FORMATS if format in written}
        records[name] = dataset.splits[name].model_copy(update={"formats": in_order})
    return dataset.model_copy(update={"splits": records})


def _is_there(path: Path, pieces: Iterator[Piece], *, own: bool) -> bool:
    """Whether a file is there already as it would be written; without `own`, anything else is refused."""
    if not os.path.lexists(path):
        return False
    same = path.is_file() and holds_pieces(path, pieces)
    if not same and not own:
        raise DataError(
            f"{path} is there and is not what would be written",
            hint="delete it if it is a damaged file of this data set, or keep it elsewhere, and try again",
        )
    return same


def _files(folder: Path, name: str, split: PackSplit, format: str) -> Iterator[tuple[Path, Iterator[Piece]]]:
    """The files of a split in a format, in order, each with its content."""
    if format == "dali":
        yield from tar_files(folder, name, split)
    else:
        [file] = format_names(name, format, 1)
        yield folder / file, Beton(split).pieces()
