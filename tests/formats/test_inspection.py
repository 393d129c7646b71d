from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packs import write_all_formats, write_pack

from fastsketch.errors import DataError
from fastsketch.formats.inspection import ink_statistics, verify
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pytest.importorskip("ffcv")
    write_all_formats(tmp_path / "data", {"train": 40, "val": 5})
    return tmp_path / "data"


def test_verify_reads_every_byte(data: Path) -> None:
    metadata = DatasetMetadata.load(data)
    files = [path for path in data.iterdir() if path.name != "dataset.json"]
    assert len(files) == 2 * (4 + 1 + 2)
    assert verify(data, metadata) == sum(path.stat().st_size for path in files)
    for path in files:
        original = path.read_bytes()
        for position in (0, len(original) // 2, len(original) - 1):
            path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
            with pytest.raises(DataError, match=f"{path.name} is not as it was written"):
                verify(data, metadata)
        path.write_bytes(original[:-1])
        with pytest.raises(DataError, match=f"{path.name} has"):
            verify(data, metadata)
        path.unlink()
        with pytest.raises(DataError, match=f"{path.name} is missing"):
            verify(data, metadata)
        path.write_bytes(original)
    verify(data, metadata)


def test_ink_statistics(tmp_path: Path) -> None:
    metadata = write_pack(tmp_path / "data", {"train": 100}, size=40)
    split = PackSplit(tmp_path / "data", metadata, "train")
    split.ink = np.array([0] * 10 + [2] * 80 + [9] * 10, dtype=np.uint16)
    ink = ink_statistics(split)
    assert ink.patches == 9  # 40 px are two and a half patches
    assert (ink.blank, ink.mean, ink.median, ink.quantile_95) == (10, 2.5, 2, 9)
