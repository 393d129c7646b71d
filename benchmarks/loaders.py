"""How many images a second reach the device, from each loader, from the bare libraries, and from what users have now?

    fastsketch bench loaders

Every contender runs whole shuffled epochs over the same 224 px sketches in batches of 64; torchvision's ImageFolder,
over the 1111 px PNGs themselves. The bare loops are what each library's documentation shows, over the same files;
`DataLoader` is given whole batches of indices, in this process and in workers, which live from epoch to epoch.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.loaders.dali import import_dali
from fastsketch.workers import available_cpus

from .common import Contender, Timing, print_table, take_turns, write_results
from .originals import dataset_in_all_formats, installed, sketch_folder
from .plots import plot_speeds
from .rivals import gray

BATCH = 64

NAMES = ("resident", "ffcv", "dali", "pack")


class Comparison(NamedTuple):
    """What the loaders did.

    Attributes:
        timings: Of all contenders.
        ratios: Of our loaders' speeds to those of the bare loops, by loader.
        identical: Images that were compared with the pack's, by loader.
        settings: What was loaded.
    """

    timings: list[Timing]
    ratios: dict[str, float]
    identical: dict[str, int]
    settings: dict[str, object]


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its table, write JSON and a plot into `out`; return the JSON."""
    device = resolve_device("auto")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        found = compare_loaders(sketch_folder(root), root / "dataset", device, quick=quick)
    path = write_results(
        out, "loaders", found.settings, found.timings, of_bare_loops=found.ratios, identical_images=found.identical
    )
    title = f"batches of {BATCH} sketches of {found.settings['size']} px on {device}"
    plot_speeds(path.with_suffix(".png"), found.timings, title)
    return path


def compare_loaders(originals: Path, folder: Path, device: torch.device, *, quick: bool) -> Comparison:
    """Every loader that is installed and its rival; prints the table.

    Args:
        originals: An ImageFolder of 1111 px PNGs.
        folder: A data set is converted to it.
        device: Where the images are to arrive.
        quick: Few images, few rounds.
    """
    workers = available_cpus()
    dataset = dataset_in_all_formats(originals, folder, quick=quick)
    split = PackSplit(folder, dataset, "train")
    sampling = Sampling(BATCH, shuffle=True, drop_last=True)
    loaders = {
        name: open_loader(folder, dataset, "train", sampling, device, name=name) for name in NAMES if installed(name)
    }
    identical = {name: _compare(folder, dataset, name, device) for name in loaders}
    bare: dict[str, Callable[[], int]] = {"torch.index_select": _index_select(split, device)}
    if "ffcv" in loaders:
        bare["FFCV"] = _ffcv(folder / dataset.split("train").formats["ffcv"][0].name, device, workers)
    if "dali" in loaders:
        tars = [folder / file.name for file in dataset.split("train").formats["dali"] if file.name.endswith(".tar")]
        bare["DALI"] = _dali(tars, dataset.size, device, workers)
    bare["DataLoader"] = _batches(split, device, workers=0)
    bare[f"DataLoader, {workers} workers"] = _batches(split, device, workers)
    contenders = [
        *(Contender(f"fastsketch {name}", _epochs(loader), loader.samples) for name, loader in loaders.items()),
        *(Contender(name, loop, sampling.samples(len(split))) for name, loop in bare.items()),
    ]
    if installed("torchvision"):
        loop, images = _image_folder(originals, dataset.size, device, workers)
        contenders.append(Contender("torchvision ImageFolder", loop, images))
    timings = take_turns(contenders, rounds=2 if quick else 9, warmup=1 if quick else 2)
    for contender in contenders:
        if contender.run() != contender.images:
            raise AssertionError(f"{contender.name} did not yield what it should")
    speeds = {timing.name: timing.images_per_second for timing in timings}
    dataloader = max((name for name in speeds if name.startswith("DataLoader")), key=speeds.__getitem__)
    pairs = {"resident": "torch.index_select", "ffcv": "FFCV", "dali": "DALI", "pack": dataloader}
    ratios = {name: speeds[f"fastsketch {name}"] / speeds[pairs[name]] for name in loaders}
    print_table(f"{len(split):,} sketches of {dataset.size} px on {device}", timings, baseline="DataLoader")
    for name, ratio in ratios.items():
        print(f"fastsketch {name}: {ratio:.2f} of the bare {pairs[name]} loop")
    settings: dict[str, object] = {
        "quick": quick,
        "images": len(split),
        "size": dataset.size,
        "batch": BATCH,
        "workers": workers,
    }
    return Comparison(timings, ratios, identical, settings)


def _compare(folder: Path, dataset: DatasetMetadata, name: str, device: torch.device) -> int:
    """Compare all images and labels of all splits with the pack, index by index; return how many there were."""
    images = 0
    for split in dataset.splits:
        pack = PackSplit(folder, dataset, split)
        expected, labels = torch.tensor(pack.images), torch.tensor(pack.labels)
        seen = torch.zeros(len(pack), dtype=torch.int64)
        for batch in open_loader(folder, dataset, split, Sampling(BATCH, shuffle=True), device, name=name).epoch(3):
            indices = batch.indices.cpu()
            seen[indices] += 1
            if not torch.equal(batch.images.cpu(), expected[indices]):
                raise AssertionError(f"{name}: images of the {split} split are not the pack's")
            if not torch.equal(batch.labels.cpu(), labels[indices]):
                raise AssertionError(f"{name}: labels of the {split} split are not the pack's")
        if not bool((seen == 1).all()):
            raise AssertionError(f"{name}: an epoch of the {split} split is not every sample once")
        images += len(pack)
    return images


# ------------------------------------------------------------------------------------------------ the contenders


def _epochs(loader: Loader) -> Callable[[], int]:
    numbers = count()
    return lambda: sum(len(batch.labels) for batch in loader.epoch(next(numbers)))


def _index_select(split: PackSplit, device: torch.device) -> Callable[[], int]:
    images, labels = torch.tensor(split.images, device=device), torch.tensor(split.labels, device=device)

    def epoch() -> int:
        seen = 0
        order = torch.randperm(len(labels), device=device)
        for start in range(0, len(labels) - BATCH + 1, BATCH):
            indices = order[start : start + BATCH]
            torch.index_select(images, 0, indices)
            seen += len(torch.index_select(labels, 0, indices))
        return seen

    return epoch


def _ffcv(path: Path, device: torch.device, workers: int) -> Callable[[], int]:
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.ndarray import NDArrayDecoder
    from ffcv.loader import Loader as FFCVLoader
    from ffcv.loader import OrderOption
    from ffcv.transforms import ToDevice, ToTensor

    torch.set_num_threads(workers)
    move = [ToDevice(device, non_blocking=True)] if device.type == "cuda" else []
    pipelines = {
        "image": [NDArrayDecoder(), ToTensor(), *move],
        "label": [IntDecoder(), ToTensor(), *move],
        "index": [IntDecoder(), ToTensor(), *move],
    }
    loader = FFCVLoader(
        str(path), BATCH, workers, os_cache=True, order=OrderOption.RANDOM, drop_last=True, pipelines=pipelines
    )
    return lambda: sum(len(labels) for _, labels, _ in loader)


def _dali(tars: list[Path], size: int, device: torch.device, workers: int) -> Callable[[], int]:
    fn, types, plugin = (import_dali(module) for module in ("fn", "types", "plugin.pytorch"))
    base = import_dali("plugin.base_iterator")
    on_gpu = device.type == "cuda"

    def graph() -> object:
        images, targets = fn.readers.webdataset(
            paths=[str(tar) for tar in tars],
            index_paths=[str(tar.with_suffix(".idx")) for tar in tars],
            ext=["image.u8", "target.i64"],
            dtypes=[types.UINT8, types.INT64],
            random_shuffle=True,
            initial_fill=1024,
            pad_last_batch=True,
            name="Reader",
        )
        images = fn.reshape(images, shape=[1, size, size])
        return (images.gpu(), targets.gpu()) if on_gpu else (images, targets)

    settings = {"batch_size": BATCH, "num_threads": workers, "device_id": 0 if on_gpu else None}
    pipeline = import_dali("pipeline").pipeline_def(**settings)(graph)()
    iterator = plugin.DALIGenericIterator(
        pipeline,
        ["images", "targets"],
        reader_name="Reader",
        last_batch_policy=base.LastBatchPolicy.DROP,
        auto_reset=True,
    )
    return lambda: sum(len(batch["targets"]) for [batch] in iterator)


class Gathered(Dataset[tuple[Tensor, Tensor]]):
    """A batch at once out of the memory-mapped pack, as whoever has profiled a loop over samples writes it."""

    def __init__(self, split: PackSplit) -> None:
        self._images, self._labels = split.images, split.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """uint8 [B, 1, S, S] and int64 [B]."""
        return torch.from_numpy(self._images[rows]), torch.from_numpy(self._labels[rows])


def _batches(split: PackSplit, device: torch.device, workers: int) -> Callable[[], int]:
    dataset = Gathered(split)
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=BatchSampler(RandomSampler(dataset), BATCH, drop_last=True),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    return lambda: _moved(loader, device)


def _image_folder(originals: Path, size: int, device: torch.device, workers: int) -> tuple[Callable[[], int], int]:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    dataset = ImageFolder(
        os.fspath(originals), transform=v2.Compose([v2.Resize((size, size)), v2.PILToTensor()]), loader=gray
    )
    pinned = device.type == "cuda"
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, pin_memory=pinned, persistent_workers=True)
    return lambda: _moved(loader, device), len(dataset)


def _moved(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> int:
    seen = 0
    for images, labels in batches:
        images.to(device, non_blocking=True)
        seen += len(labels.to(device, non_blocking=True))
    return seen
