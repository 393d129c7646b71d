"""How many images a second reach the device, from each loader, from the bare libraries, and from what users have now?

    python -m fastsketch_benchmarks.loaders [OUT]

Every contender runs whole shuffled epochs over the same 224 px sketches in batches of 64; torchvision's ImageFolder,
over the 1111 px PNGs themselves. The bare loops are what each library's documentation shows, and the same files.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fastsketch.config import ConvertConfig
from fastsketch.convert import convert_dataset
from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.sources import open_source
from fastsketch.workers import available_cpus

from .common import Contender, print_table, take_turns, write_results
from .originals import SHARED, sketch_folder
from .plots import plot_speeds

BATCH = 64

NAMES = ("resident", "ffcv", "dali", "pack")


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its table, write JSON and a plot into `out`; return the JSON."""
    device, workers = resolve_device("auto"), available_cpus()
    with tempfile.TemporaryDirectory() as temporary:
        originals = sketch_folder(Path(temporary))
        folder = Path(temporary, "dataset")
        dataset = convert_sketches(originals, folder, quick)
        split = PackSplit(folder, dataset, "train")
        sampling = Sampling(BATCH, shuffle=True, drop_last=True)
        loaders = {
            name: open_loader(folder, dataset, "train", sampling, device, name=name)
            for name in NAMES
            if installed(name)
        }
        compared = {name: _compare(folder, dataset, name, device) for name in loaders}
        bare: dict[str, Callable[[], int]] = {"torch.index_select": _index_select(split, device)}
        if "ffcv" in loaders:
            bare["FFCV"] = _ffcv(folder / dataset.split("train").formats["ffcv"][0].name, device, workers)
        if "dali" in loaders:
            tars = [folder / file.name for file in dataset.split("train").formats["dali"] if file.name.endswith(".tar")]
            bare["DALI"] = _dali(tars, dataset.size, device, workers)
        bare["torch DataLoader"] = _tensors(split, device, workers)
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
        settings = {"quick": quick, "images": len(split), "size": dataset.size, "batch": BATCH, "workers": workers}
    speeds = {timing.name: timing.images_per_second for timing in timings}
    pairs = {"resident": "torch.index_select", "ffcv": "FFCV", "dali": "DALI"}
    ratios = {name: speeds[f"fastsketch {name}"] / speeds[pairs[name]] for name in loaders if name in pairs}
    print_table(f"{len(split):,} sketches of {dataset.size} px on {device}", timings, baseline="torch DataLoader")
    for name, ratio in ratios.items():
        print(f"fastsketch {name}: {ratio:.2f} of the bare {pairs[name]} loop")
    path = write_results(out, "loaders", settings, timings, of_bare_loops=ratios, identical_images=compared)
    plot_speeds(path.with_suffix(".png"), timings, f"batches of {BATCH} sketches of {dataset.size} px on {device}")
    return path


def convert_sketches(originals: Path, folder: Path, quick: bool) -> DatasetMetadata:
    """A data set in all formats: TU-Berlin's 14,250 sketches where they are, else the originals."""
    real = SHARED / "tuberlin224"
    at_hand = real.is_dir() and not quick
    config = ConvertConfig(size=224, split=None if at_hand else "1/0", format="all" if installed("ffcv") else "dali")
    return convert_dataset(open_source(real if at_hand else originals), folder, config)


def installed(name: str) -> bool:
    """Whether the library of a loader or a contender is there; two of the loaders need none."""
    from importlib.util import find_spec

    if name in ("resident", "pack"):
        return True
    return find_spec("nvidia.dali" if name == "dali" and find_spec("nvidia") else name) is not None


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
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    on_gpu = device.type == "cuda"

    @pipeline_def(batch_size=BATCH, num_threads=workers, device_id=0 if on_gpu else None)
    def pipeline() -> Any:
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

    iterator = DALIGenericIterator(
        pipeline(), ["images", "targets"], reader_name="Reader", last_batch_policy=LastBatchPolicy.DROP, auto_reset=True
    )
    return lambda: sum(len(batch["targets"]) for [batch] in iterator)


def _tensors(split: PackSplit, device: torch.device, workers: int) -> Callable[[], int]:
    tensors = TensorDataset(torch.tensor(split.images), torch.tensor(split.labels))
    pinned = device.type == "cuda"
    loader = DataLoader(tensors, BATCH, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pinned)
    return lambda: _moved(loader, device)


def _image_folder(originals: Path, size: int, device: torch.device, workers: int) -> tuple[Callable[[], int], int]:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = v2.Compose([v2.Grayscale(), v2.Resize((size, size)), v2.PILToTensor()])
    dataset = ImageFolder(os.fspath(originals), transform=steps)
    pinned = device.type == "cuda"
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, pin_memory=pinned)
    return lambda: _moved(loader, device), len(dataset)


def _moved(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> int:
    seen = 0
    for images, labels in batches:
        images.to(device, non_blocking=True)
        seen += len(labels.to(device, non_blocking=True))
    return seen


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/results"))
