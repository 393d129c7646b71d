"""What the tests of conversion share."""

from __future__ import annotations

from pathlib import Path

from fastsketch.config import ConvertConfig

SIZE = 24
CONFIG = ConvertConfig(size=SIZE, split="12/4/2", workers=1)


def changed(**changes: object) -> ConvertConfig:
    """CONFIG with other values."""
    return CONFIG.model_copy(update=changes)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
