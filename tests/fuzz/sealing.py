"""Lies that are told consistently: checksums are made to fit what was changed, so that more than they must notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastsketch.formats import metadata
from fastsketch.formats.files import FileRecord


def sealed(record: Any) -> bytes:
    """A `dataset.json` of anything, with the checksum that belongs to it where it can have one."""
    try:
        content = {key: value for key, value in record.items() if key != "checksum"}
        return metadata._json({**content, "checksum": metadata._sha256(content)}).encode()
    except (AttributeError, TypeError, ValueError, RecursionError):
        return json.dumps(record).encode("ascii")


def recorded_anew(folder: Path) -> None:
    """Write the lengths and the checksums of a data set's files, as they are now, into its `dataset.json`."""
    path = folder / "dataset.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for split in record["splits"].values():
            for files in (split["files"].values(), *split["formats"].values()):
                for file in files:
                    if (folder / file["name"]).is_file():
                        file.update(FileRecord.of(folder / file["name"]).model_dump(mode="json"))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return
    path.write_bytes(sealed(record))
