"""Raw sketches to convert: TU-Berlin's, where they are at hand, else our own drawings of the same size."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from PIL import Image

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.sources import open_source
from fastsketch.workers import available_cpus

SHARED = Path(os.environ.get("FASTSKETCH_DATA", Path(__file__).resolve().parent.parent.parent / "shared"), "data")
"""Real data, if there are any."""


def imagenet_weights(model: str) -> Path | None:
    """Those of a timm model, if they are at hand."""
    path = SHARED.parent / "weights" / f"{model}.in1k.safetensors"
    return path if path.is_file() else None


def sketch_folder(folder: Path, copies: int = 1, per_class: int = 60) -> Path:
    """An ImageFolder of 1111 px sketches of 11 classes, each `copies` times (by links); made in `folder`."""
    originals = SHARED / "tuberlin1111"
    if not originals.is_dir():
        originals = _drawn(folder / "drawn", per_class) / "train"
    linked = folder / f"sketches-{copies}"
    for source in sorted(path for path in originals.iterdir() if path.is_dir()):
        (linked / source.name).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.glob("*.png"))[:per_class]:
            for copy in range(copies):
                link = linked / source.name / f"{path.stem}-{copy}.png"
                if not link.is_symlink():
                    link.symlink_to(path.resolve())
    return linked


def labelled_sketches(folder: Path, per_class: int) -> Path:
    """An ImageFolder of a few sketches of each of TU-Berlin's 250 classes, or of our drawn ones; made in `folder`."""
    source = SHARED / "tuberlin224" / "train"
    if not source.is_dir():
        source = _drawn(folder / "drawn", per_class) / "train"
    linked = folder / f"sketches-of-{per_class}"
    for group in sorted(source.iterdir()):
        (linked / group.name).mkdir(parents=True, exist_ok=True)
        for path in sorted(group.glob("*.png"))[:per_class]:
            link = linked / group.name / path.name
            if not link.is_symlink():
                link.symlink_to(path.resolve())
    return linked


def labelled_dataset(folder: Path, size: int, classes: int | None) -> Path:
    """TU-Berlin's training and validation sketches of the first `classes`, or our drawn ones, converted in `folder`."""
    real = SHARED / "tuberlin224"
    path, split = (real, None) if real.is_dir() else (labelled_sketches(folder, 60), "48/12")
    source = open_source(path)
    classes = classes and min(classes, len(source.class_names))
    convert_dataset(source, folder / "sketches", ConvertConfig(size=size, split=split, classes=classes))
    return folder / "sketches"


def sketches_after(folder: Path, classes: int) -> Path:
    """An ImageFolder of TU-Berlin's sketches of all but the first so many classes (by links); made in `folder`."""
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for group in sorted((SHARED / "tuberlin224" / split).iterdir())[classes:]:
            (folder / split / group.name).symlink_to(group.resolve())
    return folder


def dataset_in_all_formats(originals: Path, folder: Path, *, quick: bool) -> DatasetMetadata:
    """TU-Berlin's 14,250 sketches where they are at hand, else the originals, at 224 px; converted into `folder`."""
    real = SHARED / "tuberlin224"
    at_hand = real.is_dir() and not quick
    config = ConvertConfig(size=224, split=None if at_hand else "1/0", format="all" if installed("ffcv") else "dali")
    return convert_dataset(open_source(real if at_hand else originals), folder, config)


def installed(name: str) -> bool:
    """Whether the library of a loader or a contender is there; two of the loaders need none."""
    if name in ("resident", "pack"):
        return True
    return find_spec("nvidia.dali" if name == "dali" and find_spec("nvidia") else name) is not None


class Originals:
    """1111 px sketches, and data sets converted from them.

    Attributes:
        seconds: What each conversion took, by size.
        folder: An ImageFolder.
    """

    def __init__(self, root: Path, *, copies: int, per_class: int) -> None:
        self.seconds: dict[int, float] = {}
        self.folder = sketch_folder(root, copies, per_class)
        self._root = root

    def converted(self, size: int) -> Path:
        """A data set of images of this size, all of them for training."""
        folder = self._root / f"dataset-{size}"
        if size not in self.seconds:
            started = perf_counter()
            convert_dataset(open_source(self.folder), folder, ConvertConfig(size=size, split="1/0"))
            self.seconds[size] = perf_counter() - started
        return folder

    def resized(self, size: int) -> Path:
        """An ImageFolder of PNGs of this size."""
        folder = self._root / f"resized-{size}"
        return folder if folder.is_dir() else write_images(self.converted(size), folder)


def write_images(folder: Path, out: Path) -> Path:
    """The training images of a converted data set as an ImageFolder of PNGs."""
    dataset = DatasetMetadata.load(folder)
    split = PackSplit(folder, dataset, "train")
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        path = out / dataset.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return out


def _drawn(folder: Path, per_class: int) -> Path:
    from fastsketch.demo.dataset import draw_dataset

    draw_dataset(folder, counts={"train": per_class}, size=1111, workers=available_cpus())
    return folder
