"""What do ink tokens cost in accuracy, what do they gain in the same time, and what else would gain as much?

    fastsketch bench ink_tokens_accuracy

A small vision transformer that has learned drawings (`ink_pretraining`, an hour, kept in the user's cache folder)
is fine-tuned on TU-Berlin's sketches in every way below, with several seeds, from a classifier that is solved
(`model.head_init=ridge`). All but those of equal epochs have the time of the dense way's steps: what a step of each
costs is measured first, in turns, in one process. Each result is measured on the inked patches alone and on all, as in
plain timm; the seconds are those of a processor core, without the pass that solves the classifier.

The material is `$FASTSKETCH_DATA/`; without drawings it starts from random weights, without sketches our drawn ones are
learned. On a CPU each core trains a run of its own, a fifth faster than all cores on one run after the other. `--quick`
only shows that it runs: in so few steps nothing is learned.

| way                          | a step sees                                                                          |
|------------------------------|--------------------------------------------------------------------------------------|
| dense                        | all patches                                                                          |
| smaller images               | all patches of images with about as many as ink tokens has (RECLIP: Li et al., 2023) |
| random patches               | as many as ink tokens, chosen by chance (timm's PatchDropout: Liu et al., 2022)      |
| ink tokens                   | `model.tokens: auto`, for dense's time                                               |
| ink tokens, equal epochs     | the same, for dense's epochs                                                         |
| no paper token, equal epochs | `model.paper_token: false`                                                           |
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from matplotlib.figure import Figure
from rich.console import Console
from safetensors.torch import load_file, save_file

from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.execution.allocator import freed_memory_kept

from .common import Contender, processes_at_once, results_of, take_turns, write_results
from .ink_pretraining import pretrained
from .ink_study import GRID, Learner, Pretraining, create, create_trainer, resize
from .originals import labelled_dataset
from .plots import save_figure

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Study:
    """How large everything is: see `Pretraining`, and `training.epochs` of the dense way."""

    pretraining: Pretraining
    classes: int | None
    epochs: int
    seeds: int
    lr: float = 5e-4
    batch_size: int = 32


QUICK = Study(
    Pretraining(
        size=56,
        width=48,
        depth=3,
        classes=12,
        drawings=20,
        drawing_size=40,
        epochs=1,
        sketch_epochs=1,
        teacher_epochs=1,
        batch_size=32,
    ),
    classes=6,
    epochs=2,
    seeds=2,
)
ON_CPU = Study(
    Pretraining(size=112, width=192, depth=4, classes=None, drawings=150, drawing_size=64, epochs=3, sketch_epochs=2),
    classes=64,
    epochs=2,
    seeds=3,
)
ON_GPU = Study(
    Pretraining(
        size=224, width=384, depth=12, classes=None, drawings=150, drawing_size=128, epochs=30, sketch_epochs=30
    ),
    classes=None,
    epochs=8,
    seeds=3,
)

Sees = Literal["all", "smaller", "random", "ink alone", "ink"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train.

    Attributes:
        name: In the table.
        sees: What a step shows the model.
        equal_epochs: As many epochs as dense, in less time.
    """

    name: str
    sees: Sees
    equal_epochs: bool = False


DENSE = Way("dense", "all")
WAYS = (
    DENSE,
    Way("smaller images", "smaller"),
    Way("random patches", "random"),
    Way("ink tokens", "ink"),
    Way("ink tokens, equal epochs", "ink", equal_epochs=True),
    Way("no paper token, equal epochs", "ink alone", equal_epochs=True),
)

WEIGHTS = "pretrained.safetensors"
TIMED_STEPS, ROUNDS = 4, 6


@dataclass(frozen=True, slots=True)
class Result:
    """One run: top-1 in [0, 1] on ink (None where a model sees no patches) and on all; seconds of all steps."""

    way: str
    seed: int
    epochs: float
    top1_ink: float | None
    top1_all: float
    seconds: float


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the study; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    on_gpu = torch.cuda.is_available()
    study = QUICK if quick else ON_GPU if on_gpu else ON_CPU
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labelled_dataset(folder, study.pretraining.size, study.classes)
        data = DatasetMetadata.load(folder / "sketches")
        tokens = _auto_tokens(study, folder)
        weights, known = pretrained(study.pretraining, study.classes, folder)
        save_file(weights, folder / WEIGHTS)
        costs = step_costs(study, tokens, folder)
        epochs = {way.name: epochs_in_time(study.epochs, way, costs) for way in WAYS}
        console.print(f"ms a step {costs}, epochs {epochs}")
        results = train_all(study, epochs, tokens, folder)
    table = summary(results)
    for name, row in table.items():
        console.print(f"{name:38} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    samples = {split: data.split(split).samples for split in ("train", "val")}
    settings = {
        **asdict(study), "classes": len(data.classes), **samples, "tokens": tokens, "patches": GRID**2,
        "smaller_size": smaller_size(study.pretraining, tokens), "pretraining_known": known,
        "ms_a_step": costs, "processes": processes_at_once(), "quick": quick,
    }  # fmt: skip
    runs = [asdict(result) for result in results]
    path = write_results(out, "ink_tokens_accuracy", settings, [], runs=runs, summary=table)
    plot(path.with_suffix(".png"), results, f"{samples['val']} sketches of {len(data.classes)} classes")
    return path


# ------------------------------------------------------------------------------------------------------- training


def learner(study: Study, sees: Sees, tokens: int, folder: Path, *, epochs: float, seed: int = 0) -> Learner:
    """A training from the pretrained weights and a new classifier."""
    torch.manual_seed(seed)
    how = study.pretraining
    dropped = 1 - (tokens + 0.5) / GRID**2 if sees == "random" else 0.0  # what is left, timm rounds down
    model = create(how, len(DatasetMetadata.load(folder / "sketches").classes), patch_drop_rate=dropped)
    model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    size = smaller_size(how, tokens) if sees == "smaller" else how.size
    if size != how.size:
        resize(model, size)
    return Learner(
        folder / "sketches",
        model,
        epochs,
        data__batch_size=study.batch_size,
        model__tokens=tokens if sees in ("ink", "ink alone") else "all",
        model__paper_token=sees != "ink alone",
        model__head_init="ridge",
        optimizer__lr=study.lr,
        training__seed=seed,
        training__image_sizes=[size],
    )


def smaller_size(how: Pretraining, tokens: int) -> int:
    """Side of images with about so many patches."""
    return round(math.sqrt(tokens)) * (how.size // GRID)


def step_costs(study: Study, tokens: int, folder: Path) -> dict[Sees, float]:
    """Milliseconds of each kind of step, on one core: medians of rounds in turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    contenders = []
    for sees in get_args(Sees):
        trained = learner(study, sees, tokens, folder, epochs=study.epochs)
        contenders.append(Contender(sees, partial(trained.repeat, TIMED_STEPS), TIMED_STEPS))
    with freed_memory_kept(resolve_device("auto")):
        timings = take_turns(contenders, rounds=ROUNDS)
    torch.set_num_threads(threads)
    return {sees: 1e3 * timing.median / TIMED_STEPS for sees, timing in zip(get_args(Sees), timings, strict=True)}


def epochs_in_time(epochs: int, way: Way, costs: Mapping[Sees, float]) -> float:
    """Epochs, the last of them in part, that take as long as so many dense ones."""
    return epochs if way.equal_epochs else round(epochs * costs["all"] / costs[way.sees], 2)


def train_all(study: Study, epochs: dict[str, float], tokens: int, folder: Path) -> list[Result]:
    """Train in each of the ways with every seed; print as they come."""
    trainings = [(study, way, seed, epochs[way.name], tokens, folder) for seed in range(study.seeds) for way in WAYS]
    results = []
    for result in results_of(one_run, trainings):
        results.append(result)
        console.print(_line(result))
    return results


def one_run(study: Study, way: Way, seed: int, epochs: float, tokens: int, folder: Path) -> Result:
    """Train in one way with one seed, on one core, and measure."""
    torch.set_num_threads(1)
    trained = learner(study, way.sees, tokens, folder, epochs=epochs, seed=seed)
    seconds = trained.learn()
    ink = None if way.sees == "smaller" else trained.top1(tokens, paper_token=way.sees != "ink alone")
    return Result(way.name, seed, epochs, ink, trained.top1(None), round(seconds, 1))


def _auto_tokens(study: Study, folder: Path) -> int:
    model = create(study.pretraining, 1)
    tokens = create_trainer(folder / "sketches", model, model__tokens="auto").recipe.model.tokens
    assert isinstance(tokens, int), "these sketches are too dense for ink tokens"
    return tokens


# -------------------------------------------------------------------------------------------------------- results


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the seeds of each way, and of what it has over dense, seed by seed.

    Of a way with ink tokens the top-1 on ink counts against dense's on all patches, and that on all besides.
    """
    dense = {result.seed: result.top1_all for result in results if result.way == DENSE.name}
    table = {}
    for way in WAYS:
        found = [result for result in results if result.way == way.name]
        table[way.name] = {
            "epochs": found[0].epochs,
            "seconds": statistics.mean(each.seconds for each in found),
            **_over(dense, "all", [(each.seed, each.top1_all) for each in found]),
            **_over(dense, "ink", [(each.seed, each.top1_ink) for each in found if each.top1_ink is not None]),
        }
    return table


def _over(dense: dict[int, float], name: str, scores: list[tuple[int, float]]) -> dict[str, float]:
    if not scores:
        return {}
    over = [score - dense[seed] for seed, score in scores]
    return {
        f"top1_{name}": statistics.mean(score for _, score in scores),
        f"std_{name}": statistics.stdev(score for _, score in scores),
        f"over_dense_{name}": statistics.mean(over),
        f"over_dense_std_{name}": statistics.stdev(over),
    }


def _line(result: Result) -> str:
    ink = "" if result.top1_ink is None else f"on ink {result.top1_ink:.2%}, "
    return (
        f"seed {result.seed}  {result.way:38} {result.epochs:g} epochs, {result.seconds:.0f} s: "
        f"{ink}on all patches {result.top1_all:.2%}"
    )


def plot(path: Path, results: list[Result], title: str) -> None:
    """Top-1 of every run, filled on ink, hollow on all patches; a bar is the mean."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for row, way in enumerate(reversed(WAYS)):
        found = [result for result in results if result.way == way.name]
        for offset, key, face in ((0.12, "top1_ink", "C0"), (-0.12, "top1_all", "white")):
            scores = [100 * getattr(each, key) for each in found if getattr(each, key) is not None]
            if not scores:
                continue
            axes.plot(scores, [row + offset] * len(scores), "o", color="C0", markerfacecolor=face, markersize=7)
            axes.plot([statistics.mean(scores)] * 2, [row + offset - 0.1, row + offset + 0.1], color="0.2", linewidth=2)
    axes.set_yticks(range(len(WAYS)), [way.name for way in reversed(WAYS)])
    axes.set(title=f"Ink tokens: {title}", xlabel="top-1 in %  (● evaluated on ink, ○ on all patches)")
    axes.grid(axis="x", alpha=0.25)
    save_figure(path, figure)
