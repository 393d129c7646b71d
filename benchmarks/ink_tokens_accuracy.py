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
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import timm
import torch
from matplotlib.figure import Figure
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastsketch.augment import SketchAugment
from fastsketch.config import AugmentConfig, ConvertConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from fastsketch.convert import convert_dataset
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models import ink_tokens
from fastsketch.models.ink_tokens import keep_inked
from fastsketch.preprocess import Preprocess
from fastsketch.sources import open_source
from fastsketch.training.loss import mixed_cross_entropy
from fastsketch.training.optim import create_optimizer, create_schedule
from fastsketch.training.tokens import resolve_tokens
from fastsketch.workers import available_cpus, process_pool

from .common import write_results
from .originals import SHARED, labelled_dataset
from .plots import save_figure

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Study:
    """How large everything is."""

    size: int
    width: int
    depth: int
    classes: int | None
    drawn_classes: int | None
    drawings: int
    pretrain_epochs: int
    epochs: int
    seeds: int
    batch_size: int = 64
    lr: float = 1e-3


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

GRID = 14  # patches along a side, as ViT-S/16 has at 224 px
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


class Data:
    """A split, on the GPU if there is one."""

    def __init__(self, folder: Path, split: str) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.metadata = DatasetMetadata.load(folder)
        self.pack = PackSplit(folder, self.metadata, split)
        self.images = torch.tensor(self.pack.images, device=device)
        self.labels = torch.tensor(self.pack.labels, device=device)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole batches in a random order, or all in order."""
        count, device = len(self.labels), self.images.device
        order = torch.arange(count, device=device)
        if generator is not None:
            order = torch.randperm(count, generator=generator, device=device)[: max(1, count // size) * size]
        for rows in order.split(size):
            yield self.images[rows], self.labels[rows]


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
        train, val = (Data(folder / "sketches", split) for split in ("train", "val"))
        model = start(study, train, folder, seed=0)
        tokens = resolve_tokens(ModelConfig(tokens="auto"), model, augmentation(study, train), train.pack).tokens
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
    settings = {
        **asdict(study), "classes": len(train.metadata.classes), "train": len(train.labels), "val": len(val.labels),
        "tokens": tokens, "patches": GRID**2, "pretrained_top1": pretrained, "processes": workers, "quick": quick,
    }  # fmt: skip
    runs = [asdict(result) for result in results]
    path = write_results(out, "ink_tokens_accuracy", settings, [], runs=runs, summary=table)
    plot(path.with_suffix(".png"), results, f"{len(val.labels)} sketches of {len(train.metadata.classes)} classes")
    return path


# ------------------------------------------------------------------------------------------------------- material


def pretrain(study: Study, tokens: int, folder: Path) -> float | None:
    """Learn drawings, if there are any, for the weights that every way starts from; return the top-1 of unseen ones."""
    if not (SHARED / "quickdraw-strokes").is_dir():
        return None
    config = ConvertConfig(size=study.size, split=f"{study.drawings - 5}/5/0", classes=study.drawn_classes)
    convert_dataset(open_source(SHARED / "quickdraw-strokes"), folder / "drawings", config)
    drawings, unseen = (Data(folder / "drawings", split) for split in ("train", "val"))
    torch.manual_seed(0)
    model, augment = create(study, drawings), augmentation(study, drawings)
    patches = [None if left % 2 == 0 else tokens for left in reversed(range(study.pretrain_epochs))]
    learn(study, model, drawings, augment, patches, seed=0, verbose=True)
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}
    save_file(weights, folder / WEIGHTS)
    score, inked = (top1(model, unseen, augment, number) for number in (None, tokens))
    console.print(f"pretrained: {score:.2%} of unseen drawings, {inked:.2%} with {tokens} patches")
    return score


def augmentation(study: Study, data: Data) -> SketchAugment:
    """What every way trains with. Standardised: white paper as 1 outshines the position embeddings of a new model."""
    stats = data.metadata.splits["train"]
    augment = SketchAugment(
        AugmentConfig(rotation=10, shear=5), Preprocess(study.size, stats.pixel_mean, stats.pixel_std)
    )
    return augment.to(data.images.device)


def create(study: Study, data: Data) -> nn.Module:
    """A vision transformer of the study's width and depth for the classes of `data`."""
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        in_chans=1,
        num_classes=len(data.metadata.classes),
        img_size=study.size,
        patch_size=study.size // GRID,
        embed_dim=study.width,
        depth=study.depth,
        num_heads=max(1, study.width // 64),
    )
    return model.to(data.images.device)


def start(study: Study, data: Data, folder: Path, seed: int) -> nn.Module:
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
    train, val = (Data(folder / "sketches", split) for split in ("train", "val"))
    augment = augmentation(study, train)
    model = start(study, train, folder, seed)
    with patch.object(ink_tokens, "_ink_around", torch.rand_like if way.random_fill else ink_tokens._ink_around):
        seconds = learn(study, model, train, augment, patches, seed)
        seen = top1(model, val, augment, patches[-1])
    return Result(way.name, seed, len(patches), seen, top1(model, val, augment, None), round(seconds, 1))


def learn(
    study: Study,
    model: nn.Module,
    data: Data,
    augment: SketchAugment,
    patches: list[int | None],
    seed: int,
    verbose: bool = False,
) -> float:
    """Train `model`, seeing so many patches (None: all) in each epoch; return the seconds it took."""
    device = data.images.device
    optimizer = create_optimizer(model, OptimizerConfig(name="adamw", lr=study.lr, weight_decay=0.05))
    steps = max(1, len(data.labels) // study.batch_size)
    schedule = create_schedule(optimizer, ScheduleConfig(warmup_epochs=1), epochs=len(patches), steps_per_epoch=steps)
    generator = torch.Generator(device).manual_seed(seed)
    model.train()
    augment.train()
    started = perf_counter()
    for epoch, number in enumerate(patches):
        show(model, augment, number)
        losses = []
        for step, (images, labels) in enumerate(data.batches(study.batch_size, generator)):
            schedule.step_update(epoch * steps + step)
            losses.append(_step(model, optimizer, augment, images, labels, generator))
        if verbose:
            loss = float(torch.stack(losses).mean())
            console.print(f"epoch {epoch + 1} of {len(patches)}: loss {loss:.3f}, {perf_counter() - started:.0f} s")
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - started


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    augment: SketchAugment,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
) -> Tensor:
    images, targets = augment(images, labels, augment.sample_params(len(labels), generator))
    with torch.autocast("cuda", torch.bfloat16, enabled=images.is_cuda):
        logits = model(images)
    loss = mixed_cross_entropy(logits, targets, 0.1)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def show(model: nn.Module, augment: SketchAugment, number: int | None) -> None:
    """Let the model see so many patches of each sketch, in training as in evaluation; None for all."""
    keep_inked(model, number, eval_tokens=number, mean=augment.mean, std=augment.std)


@torch.inference_mode()
def top1(model: nn.Module, data: Data, augment: SketchAugment, tokens: int | None) -> float:
    """Share of sketches whose class has the largest logit, seeing so many patches of each."""
    show(model, augment, tokens)
    model.eval()
    augment.eval()
    right = [(model(augment(images)).argmax(dim=1) == labels).sum() for images, labels in data.batches(256)]
    return int(torch.stack(right).sum()) / len(data.labels)


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


if __name__ == "__main__":
    run(Path(__file__).parent / "results")
