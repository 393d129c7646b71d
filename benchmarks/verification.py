"""What does it cost to be sure that what is learned is what was converted?

    fastsketch bench verification

*Opening*: the training split goes on the device, its pixels compared with their checksum on the way, or not. *First
epoch*: shuffled batches from each streaming loader with the background check of the whole data set beside them, or
without. Nothing is trained on the batches: no real epoch has so little to hide the check behind. *Training*: a whole
`fit` of one epoch with a small CNN, its split streamed from the pack, with `data.verify` and without.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path

import torch

from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.recipes import load_recipe
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run

from .common import Contender, Timing, print_table, take_turns, write_results
from .originals import dataset_in_all_formats, installed, labelled_dataset, sketch_folder
from .plots import plot_panels

STREAMING = ("pack", "ffcv", "dali")

BATCH = 64

SIZE, MODEL = 64, "lcnet_050"
"""What is trained end to end: as little work an image as any model that one would train has."""


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its tables, write JSON and a plot into `out`; return the JSON."""
    device, rounds = resolve_device("auto"), 2 if quick else 9
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "dataset")
        dataset = dataset_in_all_formats(sketch_folder(Path(temporary)), folder, quick=quick)
        small = labelled_dataset(Path(temporary), SIZE, classes=10 if quick else 100)
        tables = {
            "opening, resident": take_turns(_openings(folder, dataset, device), rounds=rounds),
            "first epoch, batches alone": take_turns(_epochs(folder, dataset, device), rounds=rounds),
            f"first epoch, training {MODEL}": take_turns(_trainings(small, Path(temporary)), rounds=2 if quick else 5),
        }
    for title, timings in tables.items():
        print_table(f"{title} on {device}", timings, baseline=timings[0].name)
    costs = {pair: cost for timings in tables.values() for pair, cost in _costs(timings).items()}
    for name, cost in costs.items():
        print(f"{name}: verification costs {cost:+.1%}")
    settings = {
        "quick": quick,
        "images": dataset.split("train").samples,
        "bytes": sum(file.bytes for record in dataset.splits.values() for file in record.all_files()),
        "size": dataset.size,
        "batch": BATCH,
        "trained": {"model": MODEL, "size": SIZE},
    }
    flat = [timing for timings in tables.values() for timing in timings]
    path = write_results(out, "verification", settings, flat, costs=costs)
    plot_panels(path.with_suffix(".png"), tables)
    return path


def _openings(folder: Path, dataset: DatasetMetadata, device: torch.device) -> list[Contender]:
    images = dataset.split("train").samples

    def opening(verify: bool) -> Callable[[], Loader]:
        return lambda: open_loader(folder, dataset, "train", Sampling(BATCH), device, name="resident", verify=verify)

    return [Contender(_name("resident", verify), opening(verify), images) for verify in (False, True)]


def _epochs(folder: Path, dataset: DatasetMetadata, device: torch.device) -> list[Contender]:
    contenders = []
    for name in filter(installed, STREAMING):
        loader = open_loader(folder, dataset, "train", Sampling(BATCH, shuffle=True), device, name=name)
        numbers = count()

        def epoch(verify: bool, loader: Loader = loader, numbers: count[int] = numbers) -> int:
            checked = Verifier(folder, dataset.splits.values()) if verify else nullcontext()
            with checked:
                images = sum(len(batch.labels) for batch in loader.epoch(next(numbers)))
                if isinstance(checked, Verifier):
                    checked.conclude()
            return images

        contenders += [
            Contender(_name(name, verify), partial(epoch, verify), loader.samples) for verify in (False, True)
        ]
    return contenders


def _trainings(data: Path, folder: Path) -> list[Contender]:
    images, numbers = DatasetMetadata.load(data).split("train").samples, count()

    def training(recipe: Recipe) -> Callable[[], object]:
        return lambda: fit(recipe, Run(folder / f"run-{next(numbers)}"))

    contenders = []
    for verify in (False, True):
        recipe = load_recipe(
            "quick",
            data__path=str(data),
            data__loader="pack",
            data__verify=verify,
            model__name=MODEL,
            training__epochs=1,
        )
        contenders.append(Contender(_name("training", verify), training(recipe), images))
    return contenders


def _name(what: str, verify: bool) -> str:
    return f"{what}, verified" if verify else what


def _costs(timings: list[Timing]) -> dict[str, float]:
    """What verification adds to each contender, as a share of its median without."""
    medians = {timing.name: timing.median for timing in timings}
    pairs = {name: _name(name, True) for name in medians}
    return {name: medians[verified] / medians[name] - 1 for name, verified in pairs.items() if verified in medians}
