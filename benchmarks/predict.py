"""How fast is a folder of 1111 px originals classified, and how soon is one of them?

    fastsketch bench predict

`fastsketch predict` reads the files, shows them to the model and writes a row each, with as many decoding processes as
there are cores; it is to be as fast as the slower of its halves, decoding alone and the model alone (on images that are
in memory). timm does the same as its `inference.py` does: its own loader with as many workers, its eager model, a row
each. Both decode gray and resize bilinearly; that they say the same is checked.

Then one sketch, in a process that is warm: from the file to the classes, beside the bare model on an image that is
ready, and beside the exported ONNX file in float32 and int8. And one sketch from the shell, beside a process that does
nothing but import torch. At last, the memory that the command takes for some thousand files, and for ten times as many.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from fastsketch import Classifier, ConvertConfig, convert_dataset, load_recipe, open_source
from fastsketch.exporting.export import export_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.inference.inputs import find_inputs
from fastsketch.inference.predict import CHUNK, read_ahead
from fastsketch.inference.saved import SavedModel
from fastsketch.inference.tables import Table
from fastsketch.inference.writing import predict_into
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import save_trained
from fastsketch.training.run.directory import Run
from fastsketch.workers import available_cpus

from .common import Contender, Timing, print_table, take_turns, write_results
from .originals import sketch_folder
from .plots import plot_speeds

SIZE = 224
MODELS = ("lcnet_050", "tf_efficientnet_lite0")
MEAN = STD = 0.5

ALIKE = 0.05
"""Of a probability: timm's resampling rounds elsewhere."""


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its tables, write JSON and a plot into `out`; return the JSON."""
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sketches = sketch_folder(folder, copies=1 if quick else 10, per_class=6 if quick else 60)
        originals = sketch_folder(folder, per_class=6 if quick else 60)
        files = sorted(map(str, sketches.glob("*/*.png")))
        config = ConvertConfig(size=SIZE, split="0.5/0.5")
        dataset = convert_dataset(open_source(originals), folder / "data", config)
        runs = {name: _run(folder / name, name, dataset, folder / "data") for name in MODELS}
        timings: list[Timing] = []
        for name, trained in runs.items():
            contenders = _folder_contenders(name, trained, sketches, files, folder)
            timings += take_turns(contenders, rounds=rounds)
            print_table(f"{name}, {len(files):,} originals", timings[-len(contenders) :], f"{name}: timm")
        single = [timing for trained in runs.values() for timing in _single(trained, files[0], rounds * 10)]
        print_table("one sketch", single, single[0].name)
        commands = _commands(runs[MODELS[0]], files[0], rounds)
        print_table("one sketch, from the shell", commands, commands[0].name)
        many = sketch_folder(folder, copies=3 if quick else 91, per_class=6 if quick else 60)
        memory = {sum(1 for _ in each.glob("*/*")): _peak_mebibytes(runs[MODELS[0]], each) for each in (sketches, many)}
        print({f"{count:,} files": f"{peak:,} MiB" for count, peak in memory.items()})
    settings = {
        "quick": quick,
        "images": len(files),
        "size": SIZE,
        "workers": available_cpus(),
        "batch": CHUNK,
        "torch_threads": torch.get_num_threads(),
    }
    path = write_results(out, "predict", settings, [*timings, *single, *commands], peak_mebibytes=memory)
    plot_speeds(path.with_suffix(".png"), timings, f"{len(files):,} originals of 1111 px, classified at {SIZE} px")
    return path


def _run(root: Path, name: str, dataset: DatasetMetadata, folder: Path) -> Run:
    """A run with random weights: nothing here depends on what it learned."""
    run = Run(root)
    recipe = load_recipe(None, [f"model.name={name}"], data__path=folder)
    torch.manual_seed(0)
    model = create_model(recipe.model, num_classes=len(dataset.classes), size=SIZE)
    save_trained(model, run.best, Preprocess(SIZE, MEAN, STD), dataset)
    run.create(recipe, dataset)
    return run


def _folder_contenders(name: str, run: Run, sketches: Path, files: list[str], folder: Path) -> list[Contender]:
    models = [SavedModel.find(run)]
    classifier = Classifier.of(models, device="cpu")
    [reading] = classifier.readings
    some = [decoded.images for _, decoded in read_ahead(find_inputs(files[: 4 * CHUNK], ()), (reading,), 0)]
    ready = torch.from_numpy(np.concatenate([images[reading] for images in some]))
    numbers = count()

    def ours() -> Path:
        path = folder / f"{name}-{next(numbers)}.csv"
        predict_into(path, Table(topk=5), models, find_inputs([str(sketches)], ()), device="cpu")
        return path

    def model_alone() -> None:
        for start in range(0, len(files), CHUNK):
            rows = torch.arange(start, min(start + CHUNK, len(files))) % len(ready)
            classifier.ranked(classifier.probabilities({reading: ready[rows]}), 5)

    def decoding_alone() -> None:
        for _ in read_ahead(find_inputs([str(sketches)], ()), (reading,), 0):
            pass

    rival = partial(_timm, timm.create_model(f"local-dir:{run.best}", pretrained=True).eval(), sketches, folder)
    _check_alike(ours(), rival())
    return [
        Contender(f"{name}: fastsketch predict", ours, len(files)),
        Contender(f"{name}: decoding alone", decoding_alone, len(files)),
        Contender(f"{name}: model alone", model_alone, len(files)),
        Contender(f"{name}: timm", rival, len(files)),
    ]


@torch.inference_mode()
def _timm(model: nn.Module, sketches: Path, folder: Path) -> Path:
    """What timm's `inference.py` does."""
    found = timm.data.create_dataset("", root=str(sketches), input_img_mode="L")
    loader = timm.data.create_loader(
        found,
        input_size=(1, SIZE, SIZE),
        batch_size=CHUNK,
        use_prefetcher=False,
        interpolation="bilinear",
        mean=(MEAN,),
        std=(STD,),
        crop_pct=1.0,
        num_workers=available_cpus(),
    )
    names, path = found.filenames(basename=False), folder / "timm.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["input", "label", "probability"])
        place = 0
        for images, _ in loader:
            values, labels = model(images).softmax(-1).topk(5)
            for shares, classes in zip(values.tolist(), labels.tolist(), strict=True):
                rows.writerow([names[place], classes[0], shares[0]])
                place += 1
    return path


def _check_alike(ours: Path, theirs: Path) -> None:
    """Make sure that both looked at the same files and saw the same in them."""
    tables = []
    for path in (ours, theirs):
        with path.open(newline="") as file:
            tables.append({Path(row["input"]).name: float(row["probability"]) for row in csv.DictReader(file)})
    if tables[0].keys() != tables[1].keys():
        raise AssertionError("they did not look at the same files")
    if max(abs(tables[0][name] - tables[1][name]) for name in tables[0]) > ALIKE:
        raise AssertionError("they do not say the same")


def _single(run: Run, file: str, rounds: int) -> list[Timing]:
    """One sketch from the file to the classes, beside the bare model, and exported."""
    name = run.recipe().model.name
    classifier = Classifier.load(run, device="cpu")
    [member] = classifier.members
    exported = [Classifier.load(each.path) for each in export_run(run, overwrite=True, int8=True)]
    ready = torch.zeros(1, 1, SIZE, SIZE)
    stored = torch.full((1, 1, SIZE, SIZE), 255, dtype=torch.uint8)
    compiled: Callable[[Tensor], Tensor] = torch.compile(member.model)

    @torch.inference_mode()
    def bare(model: Callable[[Tensor], Tensor]) -> Tensor:
        return model(ready)

    ways: dict[str, Callable[[], object]] = {
        "bare model": partial(bare, member.model),
        "bare model, compiled": partial(bare, compiled),
        "file to classes": partial(classifier.predict, file),
        "ONNX": partial(exported[0].members[0].probabilities, stored),
        "ONNX int8": partial(exported[1].members[0].probabilities, stored),
    }
    return take_turns([Contender(f"{name}: {way}", work, 1) for way, work in ways.items()], rounds=rounds)


def _commands(run: Run, file: str, rounds: int) -> list[Timing]:
    """One sketch from the shell, and what every program pays that imports torch, or torch and timm."""
    ways = {
        "import torch": ["-c", "import torch"],
        "import torch, timm": ["-c", "import torch, timm"],
        "fastsketch predict": ["-m", "fastsketch", "predict", str(run.root), file],
    }

    def work(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    return take_turns([Contender(f"process: {way}", partial(work, ways[way]), 1) for way in ways], rounds=rounds)


_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def _peak_mebibytes(run: Run, sketches: Path) -> int:
    """The most memory of the command, in its largest process, for all files of a folder."""
    out = run.root / "many.csv"
    command = [sys.executable, "-m", "fastsketch", "predict", run.root, sketches, "--out", out, "--overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *map(str, command)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)
