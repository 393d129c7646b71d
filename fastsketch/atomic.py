"""Files that are either whole or not there: temporary file, fsync, rename."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path

_MARK = "fastsketch-writes"
"""In the name of every temporary file, so that what a killed process left can be told from what is somebody else's."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it takes the place of `path`, else it is removed.

    The temporary name keeps the suffix, because savers such as matplotlib choose the format by it. What a process that
    was killed left of an earlier try at `path` is removed.
    """
    temporary = path.with_name(f".{path.stem}.{_MARK}-{os.getpid()}{path.suffix}")
    for stray in path.parent.glob(f".{escape(path.stem)}.{_MARK}-*{escape(path.suffix)}"):
        if not _is_being_written(stray):
            stray.unlink(missing_ok=True)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in `folder`, which this process holds against all others."""
    for path in folder.iterdir():
        if is_temporary(path):
            path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether that is one of our temporary files, by its name."""
    return path.name.startswith(".") and f".{_MARK}-" in path.name and path.is_file()


def _is_being_written(temporary: Path) -> bool:
    """Whether the process that a temporary file names lives (or is another's, which is as good here)."""
    try:
        os.kill(int(temporary.name.partition(f"{_MARK}-")[2].partition(".")[0]), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        pass
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON to `path`, atomically; non-ASCII class names stay readable."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` under a line of field names as CSV to `path`, atomically; None is an empty cell."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def sync(path: Path) -> None:
    """Flush a file's or a folder's contents to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
