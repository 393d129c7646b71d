"""What is each choice of the recipe `cpu-five` worth, against what else the same time could be spent on?

    fastsketch bench choices

The first classes of TU-Berlin (or our drawn sketches), fine-tuned with several seeds from ImageNet weights, if
`$FASTSKETCH_DATA/weights/` has them, else from scratch: once as the recipe has it, at smaller sizes in the same ratio
and in float32, and once for each choice with that one undone. What a choice saves is given back in epochs, as nearly as
whole ones go; the seconds of a core are in the record. `--quick` only shows that it runs.

The recipe is what it was when this was asked: with affine maps, and with a smaller size first. Since then it has flips
alone and one size, as this and runs of its own length would have it.

| way                | differs from the recipe by                                                          | epochs |
|--------------------|-------------------------------------------------------------------------------------|--------|
| as the recipe      |                                                                                     | 3      |
| nothing frozen     | gradients of all stages                                                             | 2      |
| one size           | the last size from the first epoch on                                               | 3      |
| solved classifier  | ridge regression before the first step, batch normalisation as it came, rate 5e-4   | 3      |
| flips alone        | no affine maps                                                                      | 3      |
| no moving average  | the weights themselves, under a rate that falls to 0                                | 3      |
| batches of 64      | half of the steps, at the same rate                                                 | 3      |
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import NamedTuple

import torch
from matplotlib.figure import Figure

from fastsketch.recipes import load_recipe
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run

from .common import write_results
from .plots import save_figure
from .studies import Study, console, train_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices(Study):
    """With the size of the first epoch, and how many stages are frozen."""

    first_size: int
    frozen: int


QUICK = Choices(model="test_efficientnet", first_size=25, size=32, frozen=2, classes=6, seeds=2)
WHOLE = Choices(model="tf_efficientnet_lite0", first_size=56, size=72, frozen=5, classes=40, seeds=3)


class Way(NamedTuple):
    """What differs from the recipe, and epochs."""

    settings: Mapping[str, object]
    epochs: int = 3


RECIPE = "as the recipe"
WAYS: Mapping[str, Way] = {
    RECIPE: Way({}),
    "nothing frozen": Way({"model__freeze_stages": 0}, epochs=2),
    "one size": Way({"training__image_sizes": []}),
    "solved classifier": Way({"model__head_init": "ridge", "optimizer__lr": 5e-4}),
    "flips alone": Way(
        {"augment__rotation": 0, "augment__translation": 0, "augment__scale": (1, 1), "augment__shear": 0}
    ),
    "no moving average": Way({"training__ema": 0, "schedule__min_lr": 0}),
    "batches of 64": Way({"data__batch_size": 64}),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One run: top-1 in [0, 1] after the last epoch, and seconds of a core with validation after it."""

    way: str
    seed: int
    top1: float
    seconds: float


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the study; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    study = QUICK if quick else WHOLE
    asked = [(way, seed) for seed in range(study.seeds) for way in WAYS]
    results, settings, title = train_all(study, one_run, asked, _line)
    table = summary(results)
    for name, row in table.items():
        console.print(f"{name:18} " + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    settings |= {
        "ways": {name: {**way.settings, "training__epochs": way.epochs} for name, way in WAYS.items()}, "quick": quick,
    }  # fmt: skip
    records = [asdict(result) for result in results]
    path = write_results(out, "choices", settings, [], runs=records, summary=table)
    plot(path.with_suffix(".png"), table, title)
    return path


def one_run(study: Choices, dataset: Path, weights: Path | None, folder: Path, way: str, seed: int) -> Result:
    """Train in one way with one seed, on one core."""
    torch.set_num_threads(1)
    settings, epochs = WAYS[way]
    recipe = load_recipe(
        "cpu-five",
        (),
        data__path=dataset,
        **{
            "model__name": study.model,
            "model__weights": weights,
            "model__freeze_stages": study.frozen,
            "training__epochs": epochs,
            "training__seed": seed,
            "training__image_sizes": [study.first_size, study.size, study.size],
            "training__precision": "float32",
            "augment__rotation": 10,
            "augment__translation": 0.05,
            "augment__scale": (0.9, 1.1),
            "augment__shear": 5,
            **settings,
        },
    )
    started = process_time()
    records = fit(recipe, Run(folder / f"{way} {seed}"))
    seconds = process_time() - started
    top1 = records[-1].val_top1
    assert top1 is not None
    return Result(way, seed, top1, round(seconds, 1))


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Of each way: mean and standard deviation over the seeds, what it has over the recipe seed by seed, seconds."""
    recipe = {result.seed: result.top1 for result in results if result.way == RECIPE}
    table: dict[str, dict[str, float]] = {}
    for way in WAYS:
        found = [result for result in results if result.way == way]
        scores = [result.top1 for result in found]
        over = [result.top1 - recipe[result.seed] for result in found]
        table[way] = {
            "top1": statistics.mean(scores),
            "std": statistics.stdev(scores),
            "over": statistics.mean(over),
            "over_std": statistics.stdev(over),
            "seconds": statistics.mean(result.seconds for result in found),
        }
    return table


def _line(result: Result) -> str:
    return f"seed {result.seed}  {result.way:18} {result.top1:.2%} in {result.seconds:.0f} s"


def plot(path: Path, table: Mapping[str, Mapping[str, float]], title: str) -> None:
    """What each way has over the recipe, in points; bars are standard deviations over the seeds."""
    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.subplots()
    rows = {f"{way}, {row['seconds']:.0f} s": row for way, row in table.items()}
    axes.errorbar(
        [100 * row["over"] for row in rows.values()],
        list(rows),
        xerr=[100 * row["over_std"] for row in rows.values()],
        fmt="o",
        capsize=3,
    )
    axes.axvline(0, color="0.2", linewidth=1)
    axes.invert_yaxis()
    figure.suptitle(f"Choices: {title}")
    axes.set(xlabel="points of top-1 above the recipe, seed by seed")
    axes.grid(axis="x", alpha=0.25)
    save_figure(path, figure)
