"""What does each rung of the report's augmentation add: affine, then MixUp and CutMix, then random line thickness?

    fastsketch bench ablation

The first classes of TU-Berlin (or our drawn sketches), fine-tuned with each rung and several seeds from ImageNet
weights, if `$FASTSKETCH_DATA/weights/` has them, else from scratch; everything else is the recipe `quick`. A seed gives
all rungs the same classifier and the same order of sketches, so that the difference seed by seed says more than the
means do. On a CPU each core trains a run of its own, which is a fifth faster than all cores on one run after the other.
`--quick` only shows that it runs.

| rung              | augmentation                                                             |
|-------------------|--------------------------------------------------------------------------|
| none              | none                                                                     |
| affine            | rotation, translation, scale, shear, and horizontal flip                 |
| + MixUp, CutMix   | and half of the sketches mixed, by either of the two                     |
| + thickness       | and the lines of a fifth of them 1 px wider                              |
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from fastsketch.recipes import load_recipe
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import best_record

from .common import write_results
from .plots import save_figure
from .studies import Study, console, train_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation(Study):
    """With epochs."""

    epochs: int


QUICK = Ablation(model="test_efficientnet", size=32, classes=6, epochs=1, seeds=2)
WHOLE = Ablation(model="tf_efficientnet_lite0", size=72, classes=50, epochs=8, seeds=3)

AFFINE = {"rotation": 15, "translation": 0.1, "scale": (0.9, 1.1), "shear": 5, "flip": 0.5}
MIX = {"mixup": 1, "cutmix": 1, "mix_probability": 0.5, "cutmix_share": 0.5}
THICKNESS = {"thickness": 0.2, "thickness_range": (2, 2)}
NONE = {"rotation": 0, "translation": 0, "scale": (1, 1), "shear": 0, "flip": 0}

RUNGS: Mapping[str, Mapping[str, object]] = {
    "none": NONE,
    "affine": AFFINE,
    "+ MixUp, CutMix": {**AFFINE, **MIX},
    "+ thickness": {**AFFINE, **MIX, **THICKNESS},
}


@dataclass(frozen=True, slots=True)
class Result:
    """One run: the last epoch's losses and top-1 in [0, 1], the best epoch's top-1, and seconds with validation.

    The best epoch is chosen on the split that it is measured on; the last one is not chosen at all.
    """

    rung: str
    seed: int
    top1: float
    best_top1: float
    val_loss: float
    train_loss: float
    seconds: float


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the study; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    study = QUICK if quick else WHOLE
    asked = [(rung, seed) for seed in range(study.seeds) for rung in RUNGS]
    results, settings, title = train_all(study, one_run, asked, _line)
    table = summary(results)
    for name, row in table.items():
        console.print(f"{name:16} " + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    settings |= {"rungs": dict(RUNGS), "quick": quick}
    records = [asdict(result) for result in results]
    path = write_results(out, "ablation", settings, [], runs=records, summary=table)
    plot(path.with_suffix(".png"), results, title)
    return path


def one_run(study: Ablation, dataset: Path, weights: Path | None, folder: Path, rung: str, seed: int) -> Result:
    """Train the recipe `quick` on one rung with one seed, on one core."""
    torch.set_num_threads(1)
    recipe = load_recipe(
        "quick",
        (),
        data__path=dataset,
        model__name=study.model,
        model__weights=weights,
        training__epochs=study.epochs,
        training__seed=seed,
        **{f"augment__{key}": value for key, value in RUNGS[rung].items()},
    )
    records = fit(recipe, Run(folder / f"{seed} {rung}"))
    last, best = records[-1], best_record(records)
    assert last.val_top1 is not None
    assert last.val_loss is not None
    assert best is not None
    assert best.val_top1 is not None
    seconds = sum(record.seconds for record in records)
    return Result(rung, seed, last.val_top1, best.val_top1, last.val_loss, last.train_loss, seconds)


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the seeds of each rung, and its mean lead over the rung below, seed by seed."""
    table: dict[str, dict[str, float]] = {}
    below: list[float] | None = None
    for rung in RUNGS:
        found = sorted((result for result in results if result.rung == rung), key=lambda result: result.seed)
        scores = [result.top1 for result in found]
        table[rung] = {
            "top1": statistics.mean(scores),
            "std": statistics.stdev(scores),
            "best_top1": statistics.mean(result.best_top1 for result in found),
            "val_loss": statistics.mean(result.val_loss for result in found),
            "train_loss": statistics.mean(result.train_loss for result in found),
            "seconds": statistics.mean(result.seconds for result in found),
        }
        if below is not None:
            added = [score - under for score, under in zip(scores, below, strict=True)]
            table[rung] |= {"adds": statistics.mean(added), "adds_std": statistics.stdev(added)}
        below = scores
    return table


def _line(result: Result) -> str:
    return (
        f"seed {result.seed}  {result.rung:16} {result.seconds:.0f} s: top-1 {result.top1:.2%} "
        f"(best {result.best_top1:.2%}), loss {result.val_loss:.3f}, in training {result.train_loss:.3f}"
    )


def plot(path: Path, results: list[Result], title: str) -> None:
    """The last epoch's top-1 of every run, a line a seed, and the mean of each rung."""
    figure = Figure(figsize=(6.5, 3.8), layout="constrained")
    axes = figure.subplots()
    scores = {(result.rung, result.seed): 100 * result.top1 for result in results}
    seeds = sorted({result.seed for result in results})
    for seed in seeds:
        axes.plot([scores[rung, seed] for rung in RUNGS], "o-", color="C0", alpha=0.4, markersize=5)
    for row, rung in enumerate(RUNGS):
        mean = statistics.mean(scores[rung, seed] for seed in seeds)
        axes.plot([row - 0.12, row + 0.12], [mean] * 2, color="0.2", linewidth=2)
        axes.annotate(f"{mean:.1f}", (row + 0.15, mean), verticalalignment="center")
    axes.set_xticks(range(len(RUNGS)), list(RUNGS))
    axes.margins(x=0.1)
    axes.set(title=f"Ablation: {title}", ylabel="val top-1 in %, last epoch")
    axes.grid(axis="y", alpha=0.25)
    save_figure(path, figure)
