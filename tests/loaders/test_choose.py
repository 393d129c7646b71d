from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from packs import write_all_formats, write_pack

from fastsketch.config import ConvertConfig
from fastsketch.conversion import add_formats
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Sampling, choose, open_loader
from fastsketch.loaders.dali import DALILoader
from fastsketch.loaders.ffcv import FFCVLoader
from fastsketch.loaders.pack import PackLoader
from fastsketch.loaders.resident import ResidentLoader

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_pack(tmp_path / "data", {"train": 50})
    return tmp_path / "data"


def chosen(data: Path, caplog: pytest.LogCaptureFixture) -> tuple[type, str]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        loader = open_loader(data, DatasetMetadata.load(data), "train", Sampling(8), CPU)
    [message] = [record.getMessage() for record in caplog.records if record.name == "fastsketch.loaders.choose"]
    return type(loader), message


def test_what_fits_lives_on_the_device(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 50 * 24 * 24
    free = round(needed / choose.RESIDENT_SHARE) + 10
    monkeypatch.setattr(choose, "free_memory", lambda device: free)
    kind, message = chosen(data, caplog)
    assert kind is ResidentLoader
    assert "train: the resident loader" in message
    assert "30%" in message
    monkeypatch.setattr(choose, "free_memory", lambda device: free - 20)
    assert chosen(data, caplog)[0] is PackLoader


def test_what_does_not_is_streamed_by_what_is_there(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ffcv")
    pytest.importorskip("nvidia.dali")
    monkeypatch.setattr(choose, "free_memory", lambda device: 1000)
    kind, message = chosen(data, caplog)
    assert kind is PackLoader
    assert "no files for ffcv, no files for dali" in message
    add_formats(data, ConvertConfig(format="dali"))
    assert chosen(data, caplog)[0] is DALILoader
    add_formats(data, ConvertConfig(format="ffcv"))
    kind, message = chosen(data, caplog)
    assert kind is FFCVLoader
    assert "too large for the device" in message
    monkeypatch.setitem(sys.modules, "ffcv.loader", None)
    assert chosen(data, caplog)[0] is DALILoader
    monkeypatch.setitem(sys.modules, "nvidia.dali.fn", None)
    kind, message = chosen(data, caplog)
    assert kind is PackLoader
    assert "ffcv is not installed, dali is not installed" in message


def test_joined_splits_are_resident_if_they_fit_and_streamed_from_the_packs_if_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ffcv")
    data = tmp_path / "data"
    metadata = write_all_formats(data, {"train": 50, "val": 10})
    needed = round(60 * 24 * 24 / choose.RESIDENT_SHARE)
    for free, kind in ((needed + 10, ResidentLoader), (needed - 10, PackLoader)):
        monkeypatch.setattr(choose, "free_memory", lambda device, free=free: free)
        with caplog.at_level(logging.INFO):
            assert type(open_loader(data, metadata, "train+val", Sampling(8), CPU)) is kind
    fits, streams = (r.getMessage() for r in caplog.records if r.name == "fastsketch.loaders.choose")
    assert "train+val: the resident loader" in fits
    assert "ffcv and dali cannot join" in streams


def test_free_memory_is_believable() -> None:
    assert 1 << 26 < choose.free_memory(CPU) < 1 << 44


@pytest.mark.gpu
def test_free_memory_of_a_gpu_counts_what_torch_has_in_reserve() -> None:
    device = torch.device("cuda")
    before = choose.free_memory(device)
    held = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    assert choose.free_memory(device) <= before - (1 << 27)
    del held
    assert choose.free_memory(device) > before - (1 << 27)
