"""What do ink tokens cost in accuracy, and what do they gain in the same time?

    fastsketch bench ink_tokens_accuracy

A small vision transformer learns Quick, Draw! from scratch (once, seeing all patches and ink tokens by turns, so that
neither is new to it), then TU-Berlin in every way below with several seeds. Each result is measured twice: seeing as
many patches as in training, and seeing all, as in plain timm.

The material is `$FASTSKETCH_DATA/data/{quickdraw-strokes,tuberlin224}/`; without the former it starts from random
weights, without the latter our drawn sketches are learned. On a CPU each core trains a run of its own, which is a fifth
faster than all cores on one run after the other. `--quick` only shows that it runs: in so few steps nothing is learned.

| contender          | patches                            | epochs                                     |
|--------------------|------------------------------------|--------------------------------------------|
| dense              | all                                | E                                          |
| ink, equal epochs  | auto                               | E                                          |
| ink, equal time    | auto                               | as many as fit in the dense one's time     |
| ink, then dense    | auto, all in the last fifth        | E                                          |
| ink, random fill   | auto, filled with any blank paper  | E                                          |
"""

from __future__ import annotations

import statistics
import tempfile
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.sources import open_source
from fastsketch.workers import available_cpus, process_pool

from .common import write_results
from .ink_study import GRID, Learner, Study, create, create_trainer
from .originals import SHARED, labelled_dataset
from .plots import save_figure

console = Console(highlight=False)


QUICK = Study(
    size=56, width=48, depth=1, classes=6, drawn_classes=12, drawings=20, pretrain_epochs=1, epochs=5, seeds=2
)
ON_CPU = Study(
    size=112, width=96, depth=3, classes=100, drawn_classes=None, drawings=150, pretrain_epochs=8, epochs=10, seeds=3
)
ON_GPU = Study(
    size=224,
    width=384,
    depth=12,
    classes=None,
    drawn_classes=None,
    drawings=150,
    pretrain_epochs=30,
    epochs=30,
    seeds=3,
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train."""

    name: str
    equal_time: bool = False
    dense_share: float = 0.0
    random_fill: bool = False

    def patches(self, epochs: int, tokens: int) -> list[int | None]:
        """What the model sees in each epoch: so many patches, None for all."""
        dense = round(epochs * self.dense_share)
        return [tokens] * (epochs - dense) + [None] * dense


WAYS = (
    Way("dense", dense_share=1),
    Way("ink, equal epochs"),
    Way("ink, equal time", equal_time=True),
    Way("ink, then dense", dense_share=0.2),
    Way("ink, random fill", random_fill=True),
)

WEIGHTS = "pretrained.safetensors"


@dataclass(frozen=True, slots=True)
class Result:
    """One run: top-1 in [0, 1] seeing as many patches as in training, and seeing all; seconds of training."""

    way: str
    seed: int
    epochs: int
    top1: float
    top1_all_patches: float
    seconds: float


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the study; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    on_gpu = torch.cuda.is_available()
    study = QUICK if quick else ON_GPU if on_gpu else ON_CPU
    workers = 1 if on_gpu else available_cpus()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labelled_dataset(folder, study.size, study.classes)
        data = DatasetMetadata.load(folder / "sketches")
        untrained = start(study, data, folder, seed=0)
        tokens = create_trainer(study, folder / "sketches", untrained, model__tokens="auto").recipe.model.tokens
        assert isinstance(tokens, int), "these sketches are too dense for ink tokens"
        pretrained = pretrain(study, tokens, folder)
        with process_pool(workers) as pool:
            equal_time = [way for way in WAYS if way.equal_time]
            others = [way for way in WAYS if not way.equal_time]
            results = train_all(pool, study, others, study.epochs, tokens, folder)
            results += train_all(pool, study, equal_time, epochs_in_time(results), tokens, folder)
    table = summary(results)
    for name, row in table.items():
        console.print(
            f"{name:18} {row['top1']:.1%} ± {row['std']:.1%} "
            f"({100 * row['over_dense']:+.1f} ± {100 * row['over_dense_std']:.1f} points), "
            f"all patches {row['top1_all_patches']:.1%} ± {row['std_all_patches']:.1%}, {row['seconds']:.0f} s"
        )
    samples = {split: data.split(split).samples for split in ("train", "val")}
    settings = {
        **asdict(study), "classes": len(data.classes), **samples,
        "tokens": tokens, "patches": GRID**2, "pretrained_top1": pretrained, "processes": workers, "quick": quick,
    }  # fmt: skip
    runs = [asdict(result) for result in results]
    path = write_results(out, "ink_tokens_accuracy", settings, [], runs=runs, summary=table)
    plot(path.with_suffix(".png"), results, f"{samples['val']} sketches of {len(data.classes)} classes")
    return path


# ------------------------------------------------------------------------------------------------------- material


def pretrain(study: Study, tokens: int, folder: Path) -> float | None:
    """Learn drawings, if there are any, for the weights that every way starts from; return the top-1 of unseen ones."""
    if not (SHARED / "quickdraw-strokes").is_dir():
        return None
    config = ConvertConfig(size=study.size, split=f"{study.drawings - 5}/5/0", classes=study.drawn_classes)
    convert_dataset(open_source(SHARED / "quickdraw-strokes"), folder / "drawings", config)
    data = DatasetMetadata.load(folder / "drawings")
    patches = [None if left % 2 == 0 else tokens for left in reversed(range(study.pretrain_epochs))]
    torch.manual_seed(0)
    learner = Learner(study, folder / "drawings", create(study, data), epochs=len(patches))
    learner.learn(patches, verbose=True)
    weights = {key: value for key, value in learner.trainer.model.state_dict().items() if not key.startswith("head.")}
    save_file(weights, folder / WEIGHTS)
    score, inked = (learner.top1(number) for number in (None, tokens))
    console.print(f"pretrained: {score:.2%} of unseen drawings, {inked:.2%} with {tokens} patches")
    return score


def start(study: Study, data: DatasetMetadata, folder: Path, seed: int) -> nn.Module:
    """The model that every way starts from, its classifier new."""
    torch.manual_seed(seed)
    model = create(study, data)
    if (folder / WEIGHTS).is_file():
        model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    return model


# ------------------------------------------------------------------------------------------------------- training


def train_all(pool: Executor, study: Study, ways: list[Way], epochs: int, tokens: int, folder: Path) -> list[Result]:
    """Train in each of the ways with every seed, as many at once as there are cores; print as they come."""
    trainings = [
        pool.submit(one_run, study, way, seed, way.patches(epochs, tokens), folder)
        for seed in range(study.seeds)
        for way in ways
    ]
    results = []
    for training in trainings:
        results.append(training.result())
        console.print(_line(results[-1]))
    return results


def epochs_in_time(results: list[Result]) -> int:
    """Epochs with ink tokens that take no longer than the dense ones took, as measured in whole runs."""
    dense, ink = (statistics.mean(each.seconds for each in results if each.way == way.name) for way in WAYS[:2])
    return int(results[0].epochs * dense / ink)


def one_run(study: Study, way: Way, seed: int, patches: list[int | None], folder: Path) -> Result:
    """Train in one way with one seed, on one core, and measure."""
    torch.set_num_threads(1)
    model = start(study, DatasetMetadata.load(folder / "sketches"), folder, seed)
    learner = Learner(study, folder / "sketches", model, epochs=len(patches), seed=seed, random_fill=way.random_fill)
    seconds = learner.learn(patches)
    seen, whole = (learner.top1(number) for number in (patches[-1], None))
    return Result(way.name, seed, len(patches), seen, whole, round(seconds, 1))


# -------------------------------------------------------------------------------------------------------- results


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the seeds of each way, and of what it has over dense, seed by seed."""
    dense = {result.seed: result.top1 for result in results if result.way == WAYS[0].name}
    table = {}
    for way in WAYS:
        found = [result for result in results if result.way == way.name]
        scores, whole = [each.top1 for each in found], [each.top1_all_patches for each in found]
        over = [each.top1 - dense[each.seed] for each in found]
        over_all = [each.top1_all_patches - dense[each.seed] for each in found]
        table[way.name] = {
            "top1": statistics.mean(scores),
            "std": statistics.stdev(scores),
            "over_dense": statistics.mean(over),
            "over_dense_std": statistics.stdev(over),
            "top1_all_patches": statistics.mean(whole),
            "std_all_patches": statistics.stdev(whole),
            "over_dense_all_patches": statistics.mean(over_all),
            "seconds": statistics.mean(each.seconds for each in found),
        }
    return table


def _line(result: Result) -> str:
    return (
        f"seed {result.seed}  {result.way:20} {result.epochs} epochs, {result.seconds:.0f} s: "
        f"{result.top1:.2%}, seeing all patches {result.top1_all_patches:.2%}"
    )


def plot(path: Path, results: list[Result], title: str) -> None:
    """Top-1 of every run, filled seeing what it was trained with, hollow seeing all; a bar is the mean."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for row, way in enumerate(reversed(WAYS)):
        found = [result for result in results if result.way == way.name]
        for offset, key, face in ((0.12, "top1", "C0"), (-0.12, "top1_all_patches", "white")):
            scores = [100 * getattr(each, key) for each in found]
            axes.plot(scores, [row + offset] * len(scores), "o", color="C0", markerfacecolor=face, markersize=7)
            axes.plot([statistics.mean(scores)] * 2, [row + offset - 0.1, row + offset + 0.1], color="0.2", linewidth=2)
    axes.set_yticks(range(len(WAYS)), [way.name for way in reversed(WAYS)])
    axes.set(title=f"Ink tokens: {title}", xlabel="top-1 in %  (● seeing as many patches as in training, ○ all)")
    axes.grid(axis="x", alpha=0.25)
    save_figure(path, figure)
