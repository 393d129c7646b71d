"""Raw data, of whichever kind, as classes of samples."""

from __future__ import annotations

from pathlib import Path

from fastsketch.errors import ConfigError
from fastsketch.sources.filelist import FileListSource
from fastsketch.sources.files import entries, is_file, is_folder
from fastsketch.sources.folder import FolderSource
from fastsketch.sources.quickdraw import SUFFIXES, QuickDrawSource
from fastsketch.sources.sample import Source
from fastsketch.urls import url_of, written

__all__ = ["Source", "open_source"]


def open_source(path: str | Path) -> Source:
    """Open a folder of images, a `filelist.txt` (or the folder that has one), or Quick, Draw! strokes.

    Args:
        path: Where it is: a path, or a URL of whichever protocol fsspec knows.

    Raises:
        ConfigError: There is nothing at `path`, or it is a file of another kind.
        DataError: The folder holds nothing that fastsketch can read, or not in a way that can be meant; or the URL is
            refused.
        BackendMissing: The library of its protocol is not installed.
        FastSketchError: The network is gone.
    """
    path = Path(path)
    if is_folder(path):
        if is_file(path / "filelist.txt"):
            return FileListSource(path / "filelist.txt")
        if any(entry.name.endswith(SUFFIXES) for entry in entries(path)):
            return QuickDrawSource(path)
        return FolderSource(path)
    if not (is_file(path) if url_of(path) else path.exists()):
        raise ConfigError(f"{written(path)}: no such file or folder")
    if path.name.endswith(SUFFIXES):
        return QuickDrawSource(path)
    if path.suffix == ".txt":
        return FileListSource(path)
    raise ConfigError(f"{written(path)}: not a folder, a filelist.txt or an .ndjson[.gz] file")
