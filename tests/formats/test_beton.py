from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packs import write_pack

from fastsketch.errors import BackendMissing
from fastsketch.formats.beton import Beton
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.pieces import write_pieces

FFCV_WRITES = """
import sys
from pathlib import Path
import numpy as np
from ffcv.fields import IntField, NDArrayField
from ffcv.writer import DatasetWriter
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit

folder = Path(sys.argv[1])
split = PackSplit(folder, DatasetMetadata.load(folder), "train")

class Samples:
    def __len__(self):
        return len(split)
    def __getitem__(self, index):
        return np.asarray(split.images[index]), split.labels[index], index

image = NDArrayField(np.dtype(np.uint8), split.images.shape[1:])
fields = {"image": image, "label": IntField(), "index": IntField()}
DatasetWriter(sys.argv[2], fields, num_workers=1).from_indexed_dataset(Samples())
"""


@pytest.mark.parametrize(("count", "size"), [(1, 8), (700, 24), (180, 224)])
def test_it_is_what_ffcvs_own_writer_writes(tmp_path: Path, count: int, size: int) -> None:
    pytest.importorskip("ffcv")
    metadata = write_pack(tmp_path / "data", {"train": count}, size)
    write_pieces(tmp_path / "ours.beton", Beton(PackSplit(tmp_path / "data", metadata, "train")).pieces())
    theirs = tmp_path / "theirs.beton"
    command = [sys.executable, "-c", FFCV_WRITES, str(tmp_path / "data"), str(theirs)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "ours.beton").read_bytes() == theirs.read_bytes()


def test_an_image_larger_than_a_page_gets_a_larger_page(tmp_path: Path) -> None:
    reader = pytest.importorskip("ffcv.reader")
    metadata = write_pack(tmp_path / "data", {"train": 2}, 3000)
    split = PackSplit(tmp_path / "data", metadata, "train")
    write_pieces(tmp_path / "large.beton", Beton(split).pieces())
    header = reader.Reader(str(tmp_path / "large.beton"))
    assert header.page_size == 1 << 24
    content = np.memmap(tmp_path / "large.beton", np.uint8, "r")
    for (_, address, length), image in zip(header.alloc_table, split.images, strict=True):
        assert np.array_equal(content[int(address) :][: int(length)], image.reshape(-1))


def test_writing_leaves_torch_its_threads(tmp_path: Path) -> None:
    pytest.importorskip("ffcv")
    script = """
import torch
torch.set_num_threads(3)
from fastsketch.formats.beton import import_ffcv
import_ffcv("loader")
assert torch.get_num_threads() == 3, torch.get_num_threads()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_without_ffcv_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = write_pack(tmp_path / "data", {"train": 5})
    for module in ("ffcv", "ffcv.types", "ffcv.fields"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissing) as caught:
        Beton(PackSplit(tmp_path / "data", metadata, "train"))
    assert "'.[ffcv]'" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
