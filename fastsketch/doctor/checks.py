"""One tiny real thing that each part must do. Every check runs in a process of its own, which it may take with it."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastsketch.errors import BackendMissing

if TYPE_CHECKING:
    from fastsketch.formats.metadata import DatasetMetadata

FFCV_LIBRARIES = "g++ python3-dev pkg-config libopencv-dev libturbojpeg0-dev"

SIZE, CLASSES, SKETCHES = 32, ("ant", "bee"), 8
"""Of the data set that the checks make for themselves."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part.

    Attributes:
        name: Of the part.
        work: Does the thing, and says in a few words how it did; raises where it cannot.
        remedy: What brings the part, or mends it.
        needed: Whether fastsketch is of no use without it.
    """

    name: str
    work: Callable[[], str]
    remedy: str
    needed: bool = False


def convert() -> str:
    """Convert drawn sketches."""
    with _dataset("pack") as (_, dataset):
        return f"{sum(record.samples for record in dataset.splits.values())} sketches, Pillow {_version('pillow')}"


def fast_png() -> str:
    """Decode a PNG with imagecodecs."""
    version = _version("imagecodecs")
    from fastsketch.conversion.png import read_gray_png

    with _dataset("pack") as (folder, _):
        path = next((folder.parent / "raw").rglob("*.png"))
        with path.open("rb") as file:
            if read_gray_png(file, path.stat().st_size) is None:
                raise RuntimeError("it did not decode a plain gray PNG")
    return version


def resident() -> str:
    """Load a split onto the device."""
    return _loads("resident", "pack")


def ffcv() -> str:
    """Write and read FFCV's format."""
    return f"{_loads('ffcv', 'ffcv')}, {_version('ffcv')}"


def dali() -> str:
    """Write and read DALI's format."""
    from fastsketch.loaders.dali import import_dali

    import_dali("fn")
    return f"{_loads('dali', 'dali')}, {importlib.import_module('nvidia.dali').__version__}"


def kornia() -> str:
    """Augment a batch by Kornia's own modules, and by ours."""
    import torch

    from fastsketch.augment import create_augment
    from fastsketch.device import resolve_device
    from fastsketch.preprocess import Preprocess
    from fastsketch.recipes import load_recipe

    device = resolve_device("auto")
    images = torch.full((4, 1, SIZE, SIZE), 255, dtype=torch.uint8, device=device)
    labels = torch.arange(4, device=device)
    for engine in ("fused", "kornia"):
        config = load_recipe("report-4-thickness", [f"augment.engine={engine}"]).augment
        augment = create_augment(config, Preprocess(SIZE)).to(device)
        generator = torch.Generator(device).manual_seed(0)
        augmented, _ = augment(images, labels, augment.sample_params(4, generator))
        if not torch.allclose(augmented, torch.ones_like(augmented), atol=1e-4):
            raise RuntimeError(f"engine {engine} does not leave blank paper blank")
    return _version("kornia")


def compiler() -> str:
    """Compile a function, and compare it: by Triton on a GPU, by the C++ compiler elsewhere."""
    import torch

    from fastsketch.device import resolve_device

    device = resolve_device("auto")
    values = torch.linspace(0, 1, 1000, device=device)

    def function(values: torch.Tensor) -> torch.Tensor:
        return (values * 2).sin() + values.square()

    found = torch.compile(function)(values)
    if not torch.allclose(found, function(values), atol=1e-6):
        raise RuntimeError("what is compiled computes something else")
    return f"Triton {_version('triton')}" if device.type == "cuda" else "C++"


def model() -> str:
    """A model's forward and backward pass on the device."""
    import torch

    from fastsketch.config import ModelConfig
    from fastsketch.device import resolve_device
    from fastsketch.models import create_model
    from fastsketch.training.execution.precision import autocast, resolve_precision

    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    network = create_model(ModelConfig(name="test_resnet"), num_classes=2, size=SIZE).to(device)
    with autocast(device, precision):
        loss = network(torch.rand(2, 1, SIZE, SIZE, device=device)).float().square().mean()
    loss.backward()
    if not all(bool(torch.isfinite(each.grad).all()) for each in network.parameters() if each.grad is not None):
        raise RuntimeError("its gradients are not finite")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, {str(precision).removeprefix('torch.')}, timm {_version('timm')}"


CHECKS = (
    Check("convert", convert, "install fastsketch anew: pip install --force-reinstall .", needed=True),
    Check("model", model, "install a torch that suits the machine: https://pytorch.org/get-started", needed=True),
    Check("resident loader", resident, "install fastsketch anew: pip install --force-reinstall .", needed=True),
    Check("augmentation, Kornia", kornia, "pip install 'kornia>=0.8.2'", needed=True),
    Check("compiled training", compiler, "without a GPU: apt-get install g++"),
    Check("fast PNGs", fast_png, "pip install '.[fast]'"),
    Check("FFCV", ffcv, f"apt-get install {FFCV_LIBRARIES}; pip install '.[ffcv]'"),
    Check("DALI", dali, "pip install '.[dali-cu13]', or dali-cu12; by torch.version.cuda"),
)


@contextmanager
def _dataset(format: str) -> Iterator[tuple[Path, DatasetMetadata]]:
    """A data set of a few drawn sketches, in a folder that goes again."""
    from PIL import Image

    from fastsketch.config import ConvertConfig
    from fastsketch.conversion import convert_dataset
    from fastsketch.sources import open_source

    with tempfile.TemporaryDirectory(prefix="fastsketch-doctor-") as root:
        for number in range(SKETCHES):
            path = Path(root, "raw", CLASSES[number % 2], f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_sketch(number)).save(path)
        config = ConvertConfig.model_validate({"size": SIZE, "split": "4/0/0", "workers": 1, "format": format})
        yield Path(root, "data"), convert_dataset(open_source(Path(root, "raw")), Path(root, "data"), config)


def _sketch(number: int) -> npt.NDArray[np.uint8]:
    image = np.full((2 * SIZE, 2 * SIZE), 255, np.uint8)
    image[number : number + 3, 5:-5] = 0
    return image


def _loads(name: str, format: str) -> str:
    """Load a split and compare it with what is stored."""
    import torch

    from fastsketch.device import resolve_device
    from fastsketch.formats.pack import PackSplit
    from fastsketch.loaders import Sampling, open_loader

    with _dataset(format) as (folder, dataset):
        loader = open_loader(folder, dataset, "train", Sampling(4), resolve_device("auto"), name=name)
        stored = torch.tensor(PackSplit(folder, dataset, "train").images)
        seen = 0
        for batch in loader.epoch():
            if not torch.equal(batch.images.cpu(), stored[batch.indices.cpu()]):
                raise RuntimeError("it gives other bytes than are stored")
            seen += len(batch.indices)
    if seen != SKETCHES:
        raise RuntimeError(f"it gives {seen} of {SKETCHES} sketches")
    return f"{seen} sketches, byte for byte"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BackendMissing(f"{package} is not installed") from error
