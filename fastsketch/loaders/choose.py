"""Which loader serves a split: asked for, or chosen by what fits and what is installed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch

from fastsketch.errors import BackendMissing, ConfigError
from fastsketch.formats.beton import checked_beton, import_ffcv
from fastsketch.formats.metadata import DatasetMetadata, split_parts
from fastsketch.formats.pack import open_split
from fastsketch.formats.tar import checked_tars
from fastsketch.loaders.base import Loader, Sampling
from fastsketch.loaders.dali import DALILoader, import_dali
from fastsketch.loaders.ffcv import FFCVLoader
from fastsketch.loaders.pack import PackLoader
from fastsketch.loaders.resident import ResidentLoader
from fastsketch.urls import url_of, written

log = logging.getLogger(__name__)

RESIDENT_SHARE = 0.3
"""A split goes on the device if it takes no more than this share of the memory that is free there: two splits, the
model, its gradients and its activations have to live beside each other."""

_IMPORTS: dict[str, Callable[[], object]] = {
    "ffcv": lambda: import_ffcv("loader"),
    "dali": lambda: import_dali("fn"),
}


def open_loader(
    folder: Path,
    dataset: DatasetMetadata,
    split: str,
    sampling: Sampling,
    device: torch.device,
    *,
    name: str = "auto",
    verify: bool = True,
) -> Loader:
    """Open a split of a data set, or several as one: `train+val` has train's samples first, then val's.

    Args:
        folder: The data set.
        dataset: Its metadata.
        split: Name of the split, or names joined by `+`.
        sampling: Order and batches.
        device: Where batches go.
        name: `resident`, `ffcv`, `dali`, `pack`, or `auto`, which says in the log what it chose and why. Of a data set
            at a URL all but `pack` fetch the whole split before they begin.
        verify: Compare the pixels with their checksums where they are read whole, which is `resident`; the others read
            them as they go, and a `Verifier` beside them. Whatever a batch is found by is compared in any case.

    Raises:
        ConfigError: The data set has no such split, or no files for that loader, or it cannot join splits.
        BackendMissing: The loader's library is not installed.
        DataError: A file is missing, truncated or not as it was written.
    """
    if name != "auto":
        return _open(folder, dataset, split, sampling, device, name, verify)
    name, reason = _choose(dataset, split, device, by_url=url_of(folder) is not None)
    loader = _open(folder, dataset, split, sampling, device, name, verify)
    log.info("%s: the %s loader, because %s", split, name, reason)
    return loader


def _open(
    folder: Path,
    dataset: DatasetMetadata,
    split: str,
    sampling: Sampling,
    device: torch.device,
    name: str,
    verify: bool,
) -> Loader:
    record = dataset.split(split)
    if name in ("ffcv", "dali") and len(split_parts(split)) > 1:
        # A sample's index is written in their files, and says where it is in its own split.
        raise ConfigError(
            f"the {name} loader serves one split alone, not {split}", hint="set data.loader to auto, resident or pack"
        )
    if name in ("ffcv", "dali") and name not in record.formats:
        raise ConfigError(
            f"{written(folder)} has no files for the {name} loader",
            hint=f"fastsketch convert {written(folder)} --format {name}"
            if url_of(folder) is None
            else "set data.loader to auto, resident or pack",
        )
    pack = open_split(folder, dataset, split)
    if name == "ffcv":
        [beton], [part] = record.formats["ffcv"], pack.parts
        return FFCVLoader(checked_beton(folder, beton, part), len(part), sampling, device)
    if name == "dali":
        [part] = pack.parts
        tars = checked_tars(folder, split, record.formats["dali"], part)
        return DALILoader(tars, pack.labels, dataset.size, sampling, device)
    if name == "pack":
        return PackLoader(pack, sampling, device)
    return ResidentLoader(pack, sampling, device, verify=verify)


def _choose(dataset: DatasetMetadata, split: str, device: torch.device, *, by_url: bool) -> tuple[str, str]:
    """A loader's name and the reason for it."""
    record = dataset.split(split)
    needed, free = record.samples * dataset.size**2, free_memory(device)
    amounts = f"{needed / 1e6:,.0f} MB, {RESIDENT_SHARE:.0%} of what is free on {device} being "
    amounts += f"{RESIDENT_SHARE * free / 1e6:,.0f} MB"
    if needed <= RESIDENT_SHARE * free:
        return "resident", f"the split fits on the device ({amounts})"
    if len(split_parts(split)) > 1:
        return "pack", f"the splits are too large for the device ({amounts}), and ffcv and dali cannot join them"
    if by_url:
        return "pack", f"the split is too large for the device ({amounts}), and others would wait until it is fetched"
    without: list[str] = []
    for name, load in _IMPORTS.items():
        if name not in record.formats:
            without.append(f"no files for {name}")
            continue
        try:
            load()
        except BackendMissing:
            without.append(f"{name} is not installed")
        else:
            return name, f"the split is too large for the device ({amounts})"
    return "pack", f"the split is too large for the device ({amounts}); {', '.join(without)}"


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; those that torch holds in reserve count as free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
