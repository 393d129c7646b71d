"""How much faster is a training step that leaves out blank paper, and how much less memory does it take?

    fastsketch bench ink_tokens

A step is `Trainer`'s, from uint8 on the device to updated weights: augmentation (affine and flip), forward, backward,
SGD, in half precision on a GPU, not compiled. Contenders are the dense model, numbers of patches, and `auto` for the
sketches at hand, all in turn in one process: timings at 224 and at 384 px may be compared. The sketches are
TU-Berlin's, six of each of 250 classes, enlarged from 224 px for 384, where they are at hand; else drawn ones. What it
does to the accuracy is another benchmark, `ink_tokens_accuracy`.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Batch, Sampling, open_loader
from fastsketch.models.ink_tokens import keep_inked
from fastsketch.recipes import load_recipe
from fastsketch.sources import open_source
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.trainer import Trainer

from .common import Contender, Timing, peak_bytes, print_table, take_turns, write_results
from .originals import labelled_sketches
from .plots import save_figure

RECIPE = "report-1-affine"
"""Its augmentation: no MixUp, which would lay two sketches on each other."""

SIZES = (224, 384)
TOKENS: tuple[int, ...] = (144, 128, 112, 96, 80, 64)


@dataclass(frozen=True, slots=True)
class Case:
    """One contender: a number of patches at a size; None is the dense model."""

    model: str
    size: int
    tokens: int | None
    auto: bool = False

    @property
    def name(self) -> str:
        """As in the table."""
        kept = "dense" if self.tokens is None else f"auto ({self.tokens})" if self.auto else str(self.tokens)
        return f"{self.model} {self.size} px {kept}"


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = {"vit_small": 128, "vit_base": 64} if device.type == "cuda" else {"vit_small": 16, "vit_base": 2}
    sizes, numbers, rounds = SIZES, TOKENS, 20 if device.type == "cuda" else 3
    if quick:
        models, sizes, numbers, rounds = {"test_vit": 2}, (96, 160), (12,), 1
    timings: list[Timing] = []
    memory: dict[str, float] = {}
    chosen: dict[str, int | str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {size: convert_sketches(Path(temporary), size) for size in sizes}
        for model, batch_size in models.items():
            turns = []
            for size, folder in folders.items():
                stepper = Stepper(model, folder, size, batch_size, device)
                chosen[f"{model} {size} px"] = stepper.auto
                for case in stepper.cases(numbers):
                    step = stepper.step(case)
                    stepper.trainer.state.optimizer.zero_grad()
                    memory[case.name] = peak_bytes(step, device) / 2**20
                    turns.append(Contender(case.name, step, batch_size))
            found = take_turns(turns, rounds=rounds, warmup=0)  # measuring the memory has warmed up
            print_table(f"training step of {batch_size}, {device}", found, f"{model} {sizes[0]} px dense")
            timings += found
            del turns, stepper, step
            gc.collect()
    peaks = ", ".join(f"{name} {peak:,.0f}" for name, peak in memory.items())
    Console(highlight=False).print(f"peak MiB of a step beyond weights and momentum: {peaks}\n")
    settings = {"recipe": RECIPE, "batch_sizes": models, "sizes": sizes, "auto": chosen, "quick": quick}
    result = write_results(out, "ink_tokens", settings, timings, peak_mib=memory, **ratios(timings, sizes))
    plot(result.with_suffix(".png"), timings, memory, sizes)
    return result


def convert_sketches(folder: Path, size: int) -> Path:
    """The raw sketches at hand, converted at `size`, all of them for training."""
    destination = folder / f"{size}"
    convert_dataset(open_source(labelled_sketches(folder, 6)), destination, ConvertConfig(size=size, split="6/0/0"))
    return destination


class Stepper:
    """One model at one size, and training steps of it with any number of patches.

    All numbers share the weights: eighteen copies of ViT-B with their momentum would be 18 GB.

    Attributes:
        auto: The patches that `auto` keeps of these sketches; `all` if that is all of them.
        trainer: What steps.
    """

    def __init__(self, name: str, folder: Path, size: int, batch_size: int, device: torch.device) -> None:
        self.name, self.size = name, size
        dataset = DatasetMetadata.load(folder)
        recipe = load_recipe(
            RECIPE,
            data__path=folder,
            data__batch_size=batch_size,
            model__name=name,
            model__tokens="auto",
            optimizer__lr=1e-4,
            schedule__name="constant",
        )
        eager = ExecutionConfig("eager", True, batch_size)
        self.trainer = Trainer(recipe, dataset, device, execution=eager)
        self.trainer.enter_phase()
        self.auto = self.trainer.recipe.model.tokens
        sampling = Sampling(batch_size, shuffle=True)
        loader = open_loader(folder, dataset, "train", sampling, device, name="pack", verify=False)
        self._batch = Batch(*(tensor.clone() for tensor in next(loader.epoch())))

    def cases(self, numbers: tuple[int, ...]) -> list[Case]:
        """Dense, auto, and the numbers."""
        auto = [Case(self.name, self.size, self.auto, auto=True)] if isinstance(self.auto, int) else []
        return [Case(self.name, self.size, None), *auto, *(Case(self.name, self.size, each) for each in numbers)]

    def step(self, case: Case) -> Callable[[], None]:
        """One whole training step."""

        def work() -> None:
            keep_inked(self.trainer.model, case.tokens, self.trainer.preprocess)
            self.trainer.train_step(self._batch)

        return work


def ratios(timings: list[Timing], sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """What `auto` gains over the dense model of its size, and what it takes at the larger size, by model and size."""
    seconds = {timing.name: timing.median for timing in timings}
    gain, price = {}, {}
    for name, median in seconds.items():
        model, size, _, kind, *_ = name.split()
        if kind == "auto":
            gain[f"{model} {size} px"] = seconds[f"{model} {size} px dense"] / median
            if int(size) == sizes[-1]:
                price[f"{model} {size} px"] = median / seconds[f"{model} {sizes[0]} px dense"]
    return {"auto_times_faster_than_dense": gain, f"auto_time_over_dense_{sizes[0]}": price}


def plot(path: Path, timings: list[Timing], memory: dict[str, float], sizes: tuple[int, ...]) -> None:
    """Images a second against the patches kept, a line a model and size; a square is dense, a circle auto."""
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[tuple[int, float, str]]] = {}
    for timing in timings:
        model, size, _, kind, *rest = timing.name.split()
        dense = (int(size) // 16) ** 2
        tokens = dense if kind == "dense" else int(rest[0].strip("()")) if rest else int(kind)
        lines.setdefault(f"{model}, {size} px", []).append((tokens, timing.images_per_second, kind))
    for index, (name, points) in enumerate(lines.items()):
        kept, speeds, _ = zip(*sorted(points), strict=True)
        color = f"C{index // len(sizes)}"
        style = "-" if index % len(sizes) == 0 else "--"
        axes.plot(kept, speeds, style, color=color, label=name, linewidth=1.8, marker=".", markersize=5)
        for kind, marker in (("dense", "s"), ("auto", "o")):
            for x, y, found in points:
                if found == kind:
                    axes.plot(x, y, marker, color=color, markersize=8, markerfacecolor="white", markeredgewidth=1.8)
    axes.set(xscale="log", yscale="log", xlabel="patches kept (□ dense, ○ auto)", ylabel="images/s of a training step")
    axes.set_title(f"Ink tokens: {path.stem.removeprefix('ink_tokens-')}", fontsize=11)
    ticks = [64, 96, 144, 196, 576]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False, fontsize=9)
    save_figure(path, figure)
