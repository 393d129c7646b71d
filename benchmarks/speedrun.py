"""How many seconds is it from raw files to a classifier that knows sketches better than people do?

    fastsketch bench speedrun

The commands that a user would type, each a process of its own, after each other: `fastsketch convert` of TU-Berlin's
14,250 PNGs of 224 px, `fastsketch train` with the recipe and ImageNet weights, compiled. The clock runs from the start
of the first to the end of the second: imports, compilation, verification, validation and saving are in it. The cold run
finds no compiled code; each warm one finds what it left. The rule: the mean top-1 on `val` of three seeds, in a single
pass, has to be what human observers had, 73.1 % (Eitz et al., 2012). The test split is never looked at.

Without TU-Berlin our drawn sketches are learned, from random weights; `--quick` only shows that it runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from time import perf_counter

from matplotlib.figure import Figure
from rich.console import Console

from fastsketch.recipes import load_recipe
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import read_records

from .common import write_results
from .originals import SHARED, imagenet_weights, labelled_sketches
from .plots import save_figure

console = Console(highlight=False)

RECIPE, SEEDS = "cpu-five", 3

HUMAN = 0.731
"""Top-1 of the human observers of TU-Berlin's authors."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run.

    Attributes:
        cache: `cold` or `warm`.
        convert_seconds: Of the whole process, as is the next.
        train_seconds: And of this one.
        top1: Of each epoch that was validated, in [0, 1].
        reached: Seconds from the start of `convert` to the end of each of these validations.
        compiled: What the training said of compiling, a line a size: whether it was, and how fast a step is.
    """

    cache: str
    seed: int
    convert_seconds: float
    train_seconds: float
    top1: list[float]
    reached: list[float]
    compiled: list[str]

    @property
    def seconds(self) -> float:
        """From raw files to the end."""
        return self.convert_seconds + self.train_seconds


def run(out: Path, *, quick: bool = False) -> Path:
    """Run it; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Few sketches, a tiny model, an epoch: to see that it runs.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        race = Race(folder, quick=quick)
        for cache, seed in (("cold", 0), *(("warm", seed) for seed in range(2 if quick else SEEDS))):
            results.append(race.run(cache, seed))
            last = results[-1]
            console.print(f"{cache}, seed {seed}: {last.top1[-1]:.2%} in {last.seconds:.0f} s")
    warm = [result for result in results if result.cache == "warm"]
    summary = {
        "top1": statistics.mean(result.top1[-1] for result in warm),
        "std": statistics.stdev(result.top1[-1] for result in warm),
        "seconds_warm": statistics.mean(result.seconds for result in warm),
        "seconds_cold": results[0].seconds,
    }
    console.print("  ".join(f"{key} {value:.4g}" for key, value in summary.items()))
    settings = {"recipe": RECIPE, "sketches": "TU-Berlin" if race.real else "drawn", "human": HUMAN, "quick": quick}
    runs = [{**asdict(result), "seconds": result.seconds} for result in results]
    path = write_results(out, "speedrun", settings, [], runs=runs, summary=summary)
    plot(path.with_suffix(".png"), results)
    return path


class Race:
    """The commands of a run.

    Args:
        folder: For all they write, and for their caches.
        quick: See `run`.

    Attributes:
        real: Whether the sketches are TU-Berlin's.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        recipe = load_recipe(RECIPE)
        sketches, weights = SHARED / "tuberlin224", imagenet_weights(recipe.model.name)
        self.real = sketches.is_dir() and weights is not None and not quick
        self._folder, self._size = folder, max(recipe.training.image_sizes)
        self._sketches = sketches if self.real else labelled_sketches(folder, 3 if quick else 60)
        self._split = () if self.real else ("--split", "2/1" if quick else "48/12")
        self._options = ["--weights", str(weights)] if self.real else []
        if quick:
            self._size = 32
            self._options += ["--model", "test_efficientnet", "--epochs", "1", "--image-size", "32"]

    def run(self, cache: str, seed: int) -> Result:
        """From raw files to a trained model."""
        data, place = self._folder / f"data-{cache}-{seed}", Run(self._folder / f"run-{cache}-{seed}")
        convert = ["convert", str(self._sketches), str(data), "--size", str(self._size), *self._split]
        train = ["train", str(data), "--recipe", RECIPE, "--seed", str(seed), "--out", str(place.root), *self._options]
        converted, _ = self._run(*convert)
        trained, said = self._run(*train, "--set", "training.compile=default")
        records = read_records(place.metrics)
        seconds = [record.seconds for record in records]
        begun = converted + trained - sum(seconds)  # what is saved after the last epoch is under a second
        ends = list(accumulate(seconds, initial=begun))[1:]
        reached = [end for end, record in zip(ends, records, strict=True) if record.val_top1 is not None]
        top1 = [record.val_top1 for record in records if record.val_top1 is not None]
        compiled = [line for line in said if line.startswith(("compiled", "not compiled"))]
        return Result(cache, seed, converted, trained, top1, reached, compiled)

    def _run(self, *command: str) -> tuple[float, list[str]]:
        """Seconds that a command of ours took, and what it said; a user's own caches are not asked."""
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": str(self._folder / "compiled"),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
        }
        started = perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "fastsketch", *command], env=os.environ | caches, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"fastsketch {' '.join(command)}: {done.stderr}")
        return perf_counter() - started, done.stderr.splitlines()


def plot(path: Path, results: list[Result]) -> None:
    """Top-1 of the validated epochs against the seconds since the start, a line a run."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for result in results:
        style = "--" if result.cache == "cold" else "-"
        scores = [100 * top1 for top1 in result.top1]
        axes.plot(result.reached, scores, f"o{style}", label=f"{result.cache}, seed {result.seed}", markersize=5)
    axes.axhline(100 * HUMAN, color="0.5", linewidth=1)
    axes.annotate("human observers", (0, 100 * HUMAN), color="0.4", verticalalignment="bottom")
    axes.set(title=f"Speedrun: {RECIPE}", xlabel="seconds since the start of convert", ylabel="val top-1 in %")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save_figure(path, figure)
