"""Raw data, of whichever kind, as classes of samples."""

from __future__ import annotations

from pathlib import Path

from fastsketch.errors import ConfigError
from fastsketch.sources.filelist import FileListSource
from fastsketch.sources.files import entries
from fastsketch.sources.folder import FolderSource
from fastsketch.sources.quickdraw import SUFFIXES, QuickDrawSource
from fastsketch.sources.sample import Source

__all__ = ["Source", "open_source"]


def open_source(path: str | Path) -> Source:
    """Open a folder of images, a `filelist.txt` (or the folder that has one), or Quick, Draw! strokes.

    Raises:
        ConfigError: There is nothing at `path`, or it is a file of another kind.
        DataError: The folder holds nothing that fastsketch can read, or not in a way that can be meant.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / "filelist.txt").is_file():
            return FileListSource(path / "filelist.txt")
        if any(entry.name.endswith(SUFFIXES) for entry in entries(path)):
            return QuickDrawSource(path)
        return FolderSource(path)
    if path.name.endswith(SUFFIXES):
        return QuickDrawSource(path)
    if path.suffix == ".txt":
        return FileListSource(path)
    raise ConfigError(f"{path}: not a folder, a filelist.txt or an .ndjson[.gz] file")
