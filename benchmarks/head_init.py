"""What is a classifier worth that is solved before the first step (`model.head_init=ridge`), epoch by epoch?

    fastsketch bench head_init

The first classes of TU-Berlin (or our drawn sketches), fine-tuned from ImageNet weights, if
`$FASTSKETCH_DATA/weights/` has them, else from scratch, with each way to begin, for so many epochs and with several
seeds; everything else is the recipe `cpu-quarter` at one size, with nothing frozen and a rate that falls to 0. Each
way has the learning rate that was best for it in trials of two epochs. Without an epoch the solved classifier is all.
On a CPU each core trains a run of its own; the seconds are those of a core, with validation after every epoch, and
the pass that solves. `--quick` only shows that it runs.

| way                      | the classifier begins | batch normalisation        | peak learning rate |
|--------------------------|-----------------------|----------------------------|--------------------|
| random                   | at random             | by the batch               | 1.2e-3             |
| ridge, norm by the batch | solved                | by the batch               | 1.2e-3             |
| ridge                    | solved                | by the weights' statistics | 5e-4               |
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import torch
from matplotlib.figure import Figure

from fastsketch.evaluation import evaluate_run
from fastsketch.recipes import load_recipe
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run

from .common import write_results
from .plots import save_figure
from .studies import Study, train_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads(Study):
    """With the numbers of epochs."""

    epochs: tuple[int, ...]


QUICK = Heads(model="test_efficientnet", size=32, classes=6, epochs=(1,), seeds=2)
WHOLE = Heads(model="tf_efficientnet_lite0", size=72, classes=50, epochs=(1, 2, 4, 8), seeds=3)

SOLVED: Mapping[str, object] = {"model__head_init": "ridge"}
WAYS: Mapping[str, Mapping[str, object]] = {
    "random": {"model__head_init": "random", "optimizer__lr": 1.2e-3},
    "ridge, norm by the batch": {**SOLVED, "model__freeze_norm": False, "optimizer__lr": 1.2e-3},
    "ridge": {**SOLVED, "optimizer__lr": 5e-4},
}
ALONE = "ridge alone"


@dataclass(frozen=True, slots=True)
class Result:
    """One run: the last epoch's top-1 in [0, 1], and seconds of a core."""

    way: str
    epochs: int
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
    asked: list[tuple[str, int, int]] = [(ALONE, 0, 0)]
    asked += [(way, epochs, seed) for epochs in study.epochs for seed in range(study.seeds) for way in WAYS]
    results, settings, title = train_all(study, one_run, asked, _line)
    table = summary(results)
    settings |= {"ways": {name: dict(way) for name, way in WAYS.items()}, "quick": quick}
    path = write_results(out, "head_init", settings, [], runs=[asdict(result) for result in results], summary=table)
    plot(path.with_suffix(".png"), table, title)
    return path


def one_run(
    study: Heads, dataset: Path, weights: Path | None, folder: Path, way: str, epochs: int, seed: int
) -> Result:
    """Train in one way with one seed, on one core."""
    torch.set_num_threads(1)
    recipe = load_recipe(
        "cpu-quarter",
        (),
        data__path=dataset,
        model__name=study.model,
        model__weights=weights,
        model__freeze_stages=0,
        schedule__min_lr=0,
        training__epochs=epochs,
        training__seed=seed,
        training__image_sizes=[],
        training__validate_every=1,
        **WAYS.get(way, SOLVED),
    )
    run, started = Run(folder / f"{way} {epochs} {seed}"), process_time()
    fit(recipe, run)
    seconds = process_time() - started
    top1 = evaluate_run(run, "val", checkpoint="last").scores.top1
    return Result(way, epochs, seed, top1, round(seconds, 1))


def summary(results: list[Result]) -> dict[str, dict[int, dict[str, float]]]:
    """Of each way, by its epochs: mean and standard deviation over the seeds, what it has over `random`, seconds.

    The lead is a mean of differences seed by seed.
    """
    random = {(result.epochs, result.seed): result.top1 for result in results if result.way == "random"}
    table: dict[str, dict[int, dict[str, float]]] = {}
    for way, epochs in dict.fromkeys((result.way, result.epochs) for result in results):
        found = [result for result in results if (result.way, result.epochs) == (way, epochs)]
        scores = [result.top1 for result in found]
        row = {"top1": statistics.mean(scores), "seconds": statistics.mean(result.seconds for result in found)}
        if len(found) > 1:
            over = [result.top1 - random[epochs, result.seed] for result in found]
            row |= {"std": statistics.stdev(scores), "over": statistics.mean(over), "over_std": statistics.stdev(over)}
        table.setdefault(way, {})[epochs] = row
    return table


def _line(result: Result) -> str:
    return f"{result.way:25} {result.epochs} epochs, seed {result.seed}: {result.top1:.2%} in {result.seconds:.0f} s"


def plot(path: Path, table: dict[str, dict[int, dict[str, float]]], title: str) -> None:
    """Top-1 against the seconds of a core, a line a way; bars are standard deviations."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for index, (way, rows) in enumerate(table.items()):
        seconds = [row["seconds"] for row in rows.values()]
        scores = [100 * row["top1"] for row in rows.values()]
        spread = [100 * row.get("std", 0.0) for row in rows.values()]
        axes.errorbar(seconds, scores, spread, fmt="o-", color=f"C{index}", markersize=5, capsize=3, label=way)
    axes.set(title=f"Heads: {title}", xscale="log", xlabel="seconds of a core", ylabel="top-1 in %")
    ticks = [10, 20, 50, 100, 200, 500]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(left=8)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save_figure(path, figure)
