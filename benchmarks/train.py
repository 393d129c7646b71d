"""How close does training come to the bare model, and how far is it from what users write now?

    fastsketch bench train

*A step*, on sketches of 224 px that lie on the device. `fastsketch` is the engine's loop: batch, params, augmentation,
model, optimizer. `bare step` is forward, loss, backward and optimizer on one float tensor, the upper bound;
`augmentation` is ours alone. A loop with nothing in its way takes the sum of the two; the aim is 1.05 times that. The
three are compared within each round, a few seconds long, and the median of the rounds counts: a shared machine's speed
drifts by more than the few percent that are looked for.

*End to end*, an epoch over 1111 px originals with a small CNN. `fastsketch` converted them before, which the results
state apart; `torchvision ImageFolder` and `timm loader` decode and resize them in as many worker processes as there are
cores, and `ImageFolder, resized` reads PNGs that were resized before. All have the same model in the same precision and
memory order, and mix by MixUp or CutMix; timm crops at random where the others have an affine map, and thickness is
left out, which only ours has. How much faster ours is depends on what the model itself costs: all loops pay for the
model, and only what the others pay besides is saved. A model that is dear enough brings the ratio to one.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from rich.console import Console
from timm.loss import SoftTargetCrossEntropy

from fastsketch.config import ConvertConfig, Recipe
from fastsketch.convert import convert_dataset
from fastsketch.device import resolve_device
from fastsketch.recipes import load_recipe
from fastsketch.sources import open_source
from fastsketch.training.execution.precision import FAST_BFLOAT16, resolve_precision
from fastsketch.workers import available_cpus

from .ceilings import count_flops, matrix_product
from .common import Contender, Timing, print_table, synchronize, take_turns, write_results
from .loops import Learner, OurLoop, Outcome, Task, fixed_batches, image_folder, timm_loader, write_images
from .originals import sketch_folder
from .plots import plot_panels

RECIPE = "report-4-thickness"

STEP_MODELS = ("vit_tiny_patch16_224", "resnet18")


class SmallModel(NamedTuple):
    """A small CNN that is trained end to end, on a CPU with this batch size and so many sketches a class.

    `compiled` is about CPUs alone: compiling takes a minute there, and `fit` does not do it unless told.
    """

    name: str
    size: int
    batch: int
    per_class: int
    compiled: bool


SMALL_MODELS = (
    SmallModel("lcnet_050", 64, batch=128, per_class=60, compiled=True),
    SmallModel("tf_efficientnet_lite0", 128, batch=32, per_class=24, compiled=False),
)
"""One whose own cost is small, and the model and size of the recipe `quick`."""

GPU_MODEL, GPU_BATCH = "vit_base", 64

OVERHEAD, SPEEDUP = 1.05, 5.0
"""What is aimed at: our step over bare step and augmentation, and our epoch against ImageFolder's."""

Results = dict[str, object]


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its tables, write JSON and a plot into `out`; return the JSON.

    Args:
        out: Folder for the results.
        quick: Tiny models and few rounds, nothing compiled: to see that it runs.
    """
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    on_gpu = device.type == "cuda"
    batch, copies = (128, 10) if on_gpu and not quick else (16, 1)
    step_models = ("test_vit", "test_resnet") if quick else STEP_MODELS
    small_models = (
        (SmallModel("test_efficientnet", 32, batch=16, per_class=6, compiled=False),) if quick else SMALL_MODELS
    )
    console = Console(highlight=False)
    results: dict[str, Results] = {}
    panels: dict[str, list[Timing]] = {}
    settings = {
        "recipe": RECIPE,
        "workers": available_cpus(),
        "aims": {"over_bare_and_augmentation": OVERHEAD, "over_image_folder": SPEEDUP},
        "quick": quick,
    }

    def add(title: str, found: tuple[list[Timing], Results]) -> Path:
        """Write all there is after every table: a run that is broken off leaves what it has measured."""
        panels[title], results[title] = found
        path = write_results(out, "train", settings, [], results=results)
        plot_panels(path.with_suffix(".png"), panels)
        return path

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data = Originals(root / "steps", copies=1, per_class=6 if quick else 60)
        size = 32 if quick else 224
        for model in step_models:
            task = Task(_recipe(model, batch), data.converted(size), device, precision)
            title = f"a step of {model}, batch {batch}, {size} px, {_name(precision)} on {device}"
            path = add(title, compare_steps(task, console, title, compiled=not quick, rounds=2 if quick else 21))
        for small in small_models:
            originals = Originals(root / small.name, copies=copies, per_class=small.per_class)
            recipe = _recipe(small.name, batch if on_gpu else small.batch, thickness=0)
            task = Task(recipe, originals.converted(small.size), device, precision)
            title = f"an epoch of {small.name}, batch {task.batch}, {small.size} px, on {device}"
            compiled, rounds = (small.compiled or on_gpu) and not quick, 1 if quick else 5 if on_gpu else 2
            path = add(title, compare_epochs(task, originals, console, title, compiled=compiled, rounds=rounds))
        if on_gpu and not quick:
            for half in gpu_precisions(device):
                task = Task(_recipe(GPU_MODEL, GPU_BATCH), data.converted(224), device, half)
                title = f"a step of {GPU_MODEL}, batch {GPU_BATCH}, 224 px, {_name(half)} on {device}"
                path = add(title, compare_steps(task, console, title, compiled=True, rounds=21))
    return path


class Originals:
    """1111 px sketches, and data sets converted from them.

    Attributes:
        seconds: What each conversion took, by size.
        folder: An ImageFolder.
    """

    def __init__(self, root: Path, *, copies: int, per_class: int) -> None:
        self.seconds: dict[int, float] = {}
        self.folder = sketch_folder(root, copies, per_class)
        self._root = root

    def converted(self, size: int) -> Path:
        """A data set of images of this size, all of them for training."""
        folder = self._root / f"dataset-{size}"
        if size not in self.seconds:
            started = perf_counter()
            convert_dataset(open_source(self.folder), folder, ConvertConfig(size=size, split="1/0"))
            self.seconds[size] = perf_counter() - started
        return folder

    def resized(self, size: int) -> Path:
        """An ImageFolder of PNGs of this size."""
        folder = self._root / f"resized-{size}"
        return folder if folder.is_dir() else write_images(self.converted(size), folder)


def _recipe(model: str, batch: int, thickness: float | None = None) -> Recipe:
    return load_recipe(RECIPE, model__name=model, data__batch_size=batch, augment__thickness=thickness)


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


def gpu_precisions(device: torch.device) -> list[torch.dtype]:
    """Half precisions that the GPU multiplies in hardware."""
    fast = torch.cuda.get_device_capability(device) >= FAST_BFLOAT16
    return [torch.float16, torch.bfloat16] if fast else [torch.float16]


# ------------------------------------------------------------------------------------------------------- a step


def compare_steps(
    task: Task, console: Console, title: str, *, compiled: bool, rounds: int
) -> tuple[list[Timing], Results]:
    """Our loop, the bare step and the augmentation, eager and compiled."""
    torch.compiler.reset()
    steps = 10 if task.device.type == "cuda" else 1
    watch = Watch()
    loops = {"": (OurLoop(task), Learner(task))}
    if compiled:
        loop, learner = OurLoop(task), Learner(task)
        if loop.compile():
            learner.compile()
            loops[" compiled"] = loop, learner
    tensors = fixed_batches(task, steps)
    multiply, flops_of_product = matrix_product(task.device, task.precision)
    contenders = [Contender("torch.mm", multiply, 0)]
    for suffix, (loop, learner) in loops.items():
        contenders += [
            watch.contender(f"fastsketch{suffix}", partial(loop.train, steps), steps * task.batch),
            watch.contender(f"bare step{suffix}", partial(learner.train, tensors), steps * task.batch),
            Contender(f"augmentation{suffix}", augmentation(loop, steps), steps * task.batch),
        ]
    product, *timings = take_turns(contenders, rounds=rounds)
    watch.check()
    images, labels = next(iter(tensors))
    flops = steps * count_flops(lambda: loops[""][1].loss_of(images, labels))
    ceiling = flops_of_product / product.minimum / 1e12
    seconds = {timing.name: timing.median for timing in timings}
    parts = {f"fastsketch{suffix}": breakdown(loop, rounds) for suffix, (loop, _) in loops.items()}
    ratios = {f"fastsketch{suffix}": over_bare(timings, suffix) for suffix in loops}
    reached = {
        name: {"tflops": flops / each / 1e12, "share_of_ceiling": flops / each / 1e12 / ceiling}
        for name, each in seconds.items()
        if not name.startswith("augmentation")
    }
    print_table(title, timings, baseline="bare step")
    for name, (lower, ratio, upper) in ratios.items():
        console.print(
            f"{name}: {ratio:.3f} × (bare step + augmentation), aim ≤ {OVERHEAD}; "
            f"{lower:.3f}–{upper:.3f} in the middle half of the rounds"
        )
    for name, each in reached.items():
        console.print(
            f"{name}: {each['tflops']:.3f} TFLOP/s, {each['share_of_ceiling']:.0%} of torch.mm's {ceiling:.3f}"
        )
    for name, each in parts.items():
        console.print(f"{name}, ms: " + ", ".join(f"{part} {value:.1f}" for part, value in each.items()))
    console.print()
    return timings, {
        "timings": [asdict(timing) for timing in timings],
        "first_losses": watch.first_losses,
        "compiled": " compiled" in loops,
        "over_bare_and_augmentation_quartiles": ratios,
        "breakdown_ms": parts,
        "gflop_a_step": flops / steps / 1e9,
        "ceiling_tflops": ceiling,
        "reached": reached,
    }


def over_bare(timings: list[Timing], suffix: str) -> list[float]:
    """Our loop's time over the sum of bare step and augmentation, round by round: the three quartiles."""
    rounds = {timing.name: timing.rounds for timing in timings}
    contenders = (rounds[name + suffix] for name in ("fastsketch", "bare step", "augmentation"))
    return statistics.quantiles((ours / (bare + augment) for ours, bare, augment in zip(*contenders, strict=True)))


def augmentation(loop: OurLoop, steps: int) -> Callable[[], None]:
    """AugmentParams and augmentation of a batch, as they are in the loop."""
    batch = loop.trial()

    def work() -> None:
        for _ in range(steps):
            loop.step.augment(batch.images, batch.labels, loop.augment.sample_params(loop.task.batch, loop.generator))

    return work


def breakdown(loop: OurLoop, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step's parts, one after the other and, on a GPU, each waited for.

    With the waiting the sum is more than a step takes in training, where the host runs ahead.
    """
    learner, step = loop.learner, loop.step
    parts: dict[str, list[float]] = {name: [] for name in ("load", "augment", "forward", "backward", "optimizer")}
    last = 0.0

    def lap(part: str) -> None:
        nonlocal last
        synchronize()
        now = perf_counter()
        parts[part].append(1e3 * (now - last))
        last = now

    for _ in range(rounds):
        synchronize()
        last = perf_counter()
        batch = next(loop.batches)
        lap("load")
        params = loop.augment.sample_params(loop.task.batch, loop.generator)
        images, targets = step.augment(batch.images, batch.labels, params)
        lap("augment")
        loss = step.loss_of(images, targets)
        lap("forward")
        learner.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        lap("backward")
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.optimizer.zero_grad()
        lap("optimizer")
    return {part: statistics.median(milliseconds) for part, milliseconds in parts.items()}


# ---------------------------------------------------------------------------------------------------- end to end


def compare_epochs(
    task: Task, data: Originals, console: Console, title: str, *, compiled: bool, rounds: int
) -> tuple[list[Timing], Results]:
    """Whole epochs: ours, and the loops that read files."""
    torch.compiler.reset()
    watch = Watch()
    loops = {"fastsketch": OurLoop(task)}
    if compiled and (loop := OurLoop(task)).compile():
        loops["fastsketch compiled"] = loop
    steps = len(loops["fastsketch"].loader)
    images, size = steps * task.batch, task.dataset.size
    contenders = [watch.contender(name, partial(loop.train, steps), images) for name, loop in loops.items()]
    files = {"torchvision ImageFolder": data.folder, "ImageFolder, resized": data.resized(size)}
    for name, folder in files.items():
        learner, loader = Learner(task), image_folder(task, folder)
        contenders.append(watch.contender(name, partial(learner.train, loader), images))
    learner, batches, criterion = Learner(task), timm_loader(task, data.folder), SoftTargetCrossEntropy()
    contenders.append(watch.contender("timm loader", partial(learner.train, batches, criterion), images))
    timings = take_turns(contenders, rounds=rounds)
    watch.check()
    base = next(timing.median for timing in timings if timing.name == "torchvision ImageFolder")
    speedups = {timing.name: base / timing.median for timing in timings}
    print_table(title, timings, baseline="torchvision ImageFolder")
    console.print(f"aim ≥ {SPEEDUP:g} × torchvision ImageFolder; converted once in {data.seconds[size]:.1f} s\n")
    return timings, {
        "timings": [asdict(timing) for timing in timings],
        "first_losses": watch.first_losses,
        "compiled": "fastsketch compiled" in loops,
        "over_image_folder": speedups,
        "convert_seconds": data.seconds[size],
    }


class Watch:
    """Sees to it that contenders do the same work: as many images, and losses of the same order.

    Attributes:
        first_losses: The mean loss of each one's first call, from the same weights.
    """

    def __init__(self) -> None:
        self.first_losses: dict[str, float] = {}
        self._calls: dict[str, list[Outcome]] = {}
        self._images: dict[str, int] = {}

    def contender(self, name: str, train: Callable[[], Outcome], images: int) -> Contender:
        """A contender whose every call is watched."""
        calls = self._calls[name] = []
        self._images[name] = images
        return Contender(name, lambda: calls.append(train()), images)

    def check(self) -> None:
        """Raises AssertionError where one did something else."""
        self.first_losses = {name: calls[0].loss for name, calls in self._calls.items()}
        usual = statistics.median(self.first_losses.values())
        for name, calls in self._calls.items():
            if any(call.images != self._images[name] for call in calls):
                raise AssertionError(f"{name} did not train on {self._images[name]} images")
            if not usual / 2 < calls[0].loss < usual * 2 or not all(math.isfinite(call.loss) for call in calls):
                raise AssertionError(f"{name}: losses {[call.loss for call in calls]}, of others {usual}")


if __name__ == "__main__":
    run(Path(__file__).parent / "results")
