"""How fast is the report's whole augmentation, and how much memory does it take?

    fastsketch bench augment

Contenders do the same work with the same ranges, from uint8 on the device to a normalised float32 batch and its
targets: flip, affine, line thickness, MixUp or CutMix. They differ in what they can draw for each sample alone:

| contender            | geometry   | MixUp or CutMix   |
|----------------------|------------|-------------------|
| ours                 | per sample | per sample        |
| stock Kornia         | per sample | chosen per batch  |
| torchvision a sample | per sample | one λ a batch     |
| torchvision a batch  | one for all| one λ a batch     |

Ours runs as `Trainer` runs it: its parameters are drawn in eager mode, for 16 batches at once, whether the rest is
compiled or not. Kornia
dilates by the engine that is its fastest here, which is the one that it chooses itself. torchvision has no morphology;
max_pool2d, on the samples that drew it, takes its place. What share of a training step it all has, `train` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from rich.console import Console
from torch import Tensor
from torchvision.transforms import v2

from fastsketch.augment import SketchAugment, create_augment
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.execution.compile import compiled
from fastsketch.training.execution.step import Augment
from fastsketch.training.step_params import CHUNK, StepParams

from .common import Contender, Timing, peak_bytes, print_table, take_turns, write_results
from .plots import save_figure
from .rivals import torchvision_geometry, torchvision_mix

RECIPE = "report-4-thickness"
CLASSES = 250
BATCH_SIZES = (16, 64, 256)
MAIN_BATCH = 64
BATCHES_A_CALL = CHUNK
"""Ours draws for so many at once; Kornia and torchvision choose MixUp or CutMix once a batch, at other costs."""

Work = Callable[[], Tensor]
"""Augments one batch: float32 [B, 1, S, S]."""


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark; return the JSON that it wrote beside its plot.

    Args:
        out: Folder for the results.
        quick: Small and few, to see that it runs.
    """
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # or it tells of every graph break of stock Kornia
    config = load_recipe(RECIPE).augment
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, rounds, sizes = (64, 2, (8,)) if quick else (224, 7, BATCH_SIZES)
    timings: dict[int, list[Timing]] = {}
    memory: dict[int, dict[str, float]] = {}
    for batch_size in sizes:
        images = draw_sketches(batch_size, size).to(device)
        works = contenders(config, images)
        check_alike(works, images)
        memory[batch_size] = {name: peak_memory(work, device) for name, work in works.items()}
        turns = [Contender(name, _several(work), batch_size * BATCHES_A_CALL) for name, work in works.items()]
        timings[batch_size] = take_turns(turns, rounds=rounds, warmup=1)
        print_table(f"augmentation, batch {batch_size}, {size} px, {device}", timings[batch_size], "stock Kornia")
        peaks = ", ".join(f"{name} {batches:.1f}" for name, batches in memory[batch_size].items())
        Console(highlight=False).print(f"peak extra memory in float32 batches: {peaks}\n")
    main = MAIN_BATCH if MAIN_BATCH in timings else sizes[-1]
    result = write_results(
        out,
        "augment",
        {"recipe": RECIPE, "size": size, "batch_size": main, "batches_a_call": BATCHES_A_CALL, "quick": quick},
        timings[main],
        by_batch_size={batch: [asdict(timing) for timing in found] for batch, found in timings.items()},
        peak_extra_memory_in_batches=memory,
    )
    plot(result.with_suffix(".png"), timings, f"{RECIPE}, {size} px, {result.stem.removeprefix('augment-')}")
    return result


# ------------------------------------------------------------------------------------------------- contenders


def contenders(config: AugmentConfig, images: Tensor) -> dict[str, Work]:
    """Every way to augment `images`, ready to run; compilation happens in the first call."""
    torch._dynamo.reset()
    device, size = images.device, images.shape[-1]
    labels = torch.arange(len(images), device=device) % CLASSES
    engines = [config, config.model_copy(update={"engine": "kornia"})]
    ours, stock = (create_augment(engine, Preprocess(size)).to(device) for engine in engines)

    def of(augment: SketchAugment, apply: Augment) -> Work:
        params, numbers = StepParams(augment, len(images), seed=0, device=device), count()
        return lambda: apply(images, labels, params.of(next(numbers)))[0]

    return {
        "ours": of(ours, ours),
        "ours compiled": of(ours, compiled(ours, "default")),
        "stock Kornia": of(stock, stock),
        "stock Kornia compiled": of(stock, compiled(stock, "default")),
        "torchvision a sample": torchvision_work(config, images, labels, per_sample=True),
        "torchvision a batch": torchvision_work(config, images, labels, per_sample=False),
    }


def torchvision_work(config: AugmentConfig, images: Tensor, labels: Tensor, *, per_sample: bool) -> Work:
    """torchvision.transforms.v2, on paper polarity as its users would have it."""
    geometry = torchvision_geometry(config)
    to_float = v2.ToDtype(torch.float32, scale=True)
    mix = v2.RandomApply([torchvision_mix(config, CLASSES)], p=config.mix_probability)

    def work() -> Tensor:
        moved = torch.stack([geometry(image) for image in images]) if per_sample else geometry(images)
        thick = _thicken_by_pooling(to_float(moved), config)
        mixed: Tensor = mix(thick, labels)[0]
        return mixed

    return work


def _thicken_by_pooling(paper: Tensor, config: AugmentConfig) -> Tensor:
    smallest, largest = config.thickness_range
    sides = torch.randint(smallest, largest + 1, (len(paper),), device=paper.device)
    sides = torch.where(torch.rand(len(paper), device=paper.device) < config.thickness, sides, 1)
    for side in range(max(smallest, 2), largest + 1):
        chosen = sides == side
        if chosen.any():
            padded = F.pad(1 - paper[chosen], ((side - 1) // 2, side // 2) * 2)
            paper[chosen] = 1 - F.max_pool2d(padded, side, 1)
    return paper


def check_alike(works: dict[str, Work], images: Tensor) -> None:
    """All give the same kind of batch with about the same ink, or the comparison is worth nothing."""
    torch.manual_seed(0)
    drawn = 1 - images.float().mean().item() / 255
    for name, work in works.items():
        batches = [work() for _ in range(12)]
        for batch in batches:
            assert (batch.shape, batch.dtype, batch.device) == (images.shape, torch.float32, images.device), name
            assert batch.min() >= -1e-5, name
            assert batch.max() <= 1 + 1e-5, name
        ink = sum(1 - batch.mean().item() for batch in batches) / len(batches)
        assert 0.8 < ink / drawn < 1.25, f"{name}: {ink:.4f} of ink from {drawn:.4f}"


# ------------------------------------------------------------------------------------------------ measurements


def _several(work: Work) -> Callable[[], None]:
    def call() -> None:
        for _ in range(BATCHES_A_CALL):
            work()

    return call


def peak_memory(work: Work, device: torch.device) -> float:
    """The most that one batch takes beyond the uint8 images, its result included, in float32 batches."""
    size = work().numel() * 4
    return max(peak_bytes(work, device) for _ in range(4)) / size  # several, for MixUp or CutMix


# --------------------------------------------------------------------------------------------- data and picture


def draw_sketches(count: int, size: int) -> Tensor:
    """Wavy lines of about two pixels on paper: uint8 [count, 1, size, size]."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        canvas = Image.new("L", (2 * size, 2 * size), 255)
        pen = ImageDraw.Draw(canvas)
        for _ in range(6):
            steps = rng.normal(0, size / 8, (12, 2)).cumsum(axis=0) + rng.uniform(0.6 * size, 1.4 * size, 2)
            pen.line([tuple(point) for point in steps.tolist()], fill=0, width=4, joint="curve")
        images.append(np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR)))
    return torch.from_numpy(np.stack(images)[:, None])


def plot(path: Path, timings: dict[int, list[Timing]], title: str) -> None:
    """Images a second against the batch size."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for contender in zip(*timings.values(), strict=True):
        name = contender[0].name
        style = {"linewidth": 2.2} if name.startswith("ours") else {"linewidth": 1.2, "linestyle": "--"}
        axes.plot(list(timings), [each.images_per_second for each in contender], marker="o", label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="images/s", title=title)
    axes.set_xticks(list(timings), [str(batch) for batch in timings])
    axes.minorticks_off()
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(path, figure)
