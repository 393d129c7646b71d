"""The parts of `gpu`, in the order of their worth."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastsketch.augment import create_augment
from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe, recipe_names
from fastsketch.training.execution.compile import first_line, trial_batch
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.execution.precision import FAST_BFLOAT16, resolve_precision
from fastsketch.training.step_params import CHUNK
from fastsketch.training.trainer import Trainer

from .augment import check_alike, contenders, draw_sketches
from .ceilings import count_flops, matrix_product
from .common import Contender, Timing, peak_bytes, print_table, take_turns
from .epochs import compare_epochs
from .ink_tokens import Stepper, convert_sketches, ratios
from .loaders import compare_loaders
from .loops import BareLoop, Task
from .originals import Originals

RECIPE = "report-4-thickness"
CLASSES = 250

AUGMENT_TOLERANCE = 2e-3
"""Of a gray value in [0, 1]: positions are rounded otherwise, by about 1e-5 of a pixel, and lines are steep."""

STEP_TOLERANCE = 1e-2
"""Of a loss and of a gradient's norm: a GPU may multiply float32 with fewer digits."""


@dataclass
class Bench:
    """What the parts share.

    Attributes:
        device: Where.
        quick: Tiny models and few rounds.
        root: A folder for data.
        deadline: Of the part under way, on `monotonic`'s clock.
        panels: For the plot, by title.
        rows: Of the Markdown table.
        left_out: What there was no time for, in this part.
        augment_ms: What the report's augmentation takes of a batch of `batch`.
    """

    device: torch.device
    quick: bool
    root: Path
    deadline: float = 0.0
    panels: dict[str, list[Timing]] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    augment_ms: float | None = None
    console: Console = field(default_factory=lambda: Console(highlight=False))

    @property
    def batch(self) -> int:
        """Images a batch, where there is no reason for another number."""
        return 8 if self.quick else 64

    @property
    def size(self) -> int:
        """Of the images, in pixels."""
        return 32 if self.quick else 224

    @cached_property
    def originals(self) -> Originals:
        """Sketches of 1111 px."""
        return Originals(self.root / "originals", copies=1, per_class=6 if self.quick else 24)

    def has_time(self, what: str, seconds: float) -> bool:
        """Whether so many seconds are left of the part; if not, `what` is noted as left out."""
        if monotonic() + seconds < self.deadline or self.quick:
            return True
        self.left_out.append(what)
        return False

    def row(self, what: str, figure: str) -> None:
        """A line of the table for the documentation."""
        self.rows.append(f"| {what} | {figure} |")

    def show(self, title: str, timings: list[Timing], baseline: str) -> None:
        """Print timings and plot them."""
        print_table(title, timings, baseline)
        self.panels[title] = timings

    def recipe(self, model: str, batch: int, **settings: Any) -> Recipe:
        """The report's, for another model."""
        return load_recipe(
            RECIPE,
            data__path=self.originals.converted(self.size),
            data__batch_size=batch,
            model__name=model,
            optimizer__lr=1e-4,
            schedule__name="constant",
            **settings,
        )

    def trainer(self, recipe: Recipe, mode: str, device: torch.device | None = None) -> Trainer:
        """A trainer whose step is made, in a mode of `training.compile`."""
        assert recipe.data.path is not None
        execution = ExecutionConfig(mode, True, recipe.data.batch_size)  # type: ignore[arg-type]
        trainer = Trainer(recipe, DatasetMetadata.load(recipe.data.path), device or self.device, execution=execution)
        trainer.enter_phase(checked=False)
        return trainer


# --------------------------------------------------------------------------------------------------------- 1: right


def parity(bench: Bench) -> dict[str, Any]:
    """Every recipe's augmentation and a training step against the CPU's; no step waits for the device."""
    augmentations = {name: augmented_apart(bench, name) for name in recipe_names()}
    worst = max(augmentations, key=augmentations.__getitem__)
    if augmentations[worst] > AUGMENT_TOLERANCE:
        raise AssertionError(f"{worst} augments otherwise than on a CPU, by {augmentations[worst]:.2g} of a gray value")
    step = step_apart(bench)
    if max(step.values()) > STEP_TOLERANCE:
        raise AssertionError(f"a training step is another than on a CPU: {step}")
    waits = None if bench.device.type != "cuda" else no_wait(bench)
    bench.row("augmentation, largest difference to a CPU's", f"{augmentations[worst]:.1e}")
    bench.row("loss of a step, relative difference to a CPU's", f"{step['loss']:.1e}")
    return {"augmentation": augmentations, "step": step, "steps_without_a_wait": waits}


def augmented_apart(bench: Bench, name: str) -> float:
    """Largest difference between what a recipe makes of the same images and parameters here and on a CPU."""
    augment = create_augment(load_recipe(name).augment, Preprocess(bench.size))
    batch = trial_batch(bench.batch, bench.size, CLASSES, torch.device("cpu"))
    given = (batch.images, batch.labels, augment.sample_params(bench.batch, torch.Generator().manual_seed(0)))
    expected, _ = augment(*given)
    found, _ = augment.to(bench.device)(*tree_map_only(Tensor, lambda tensor: tensor.to(bench.device), given))
    return float((found.cpu() - expected).abs().max())


def step_apart(bench: Bench) -> dict[str, float]:
    """Relative differences of loss and gradient of a step in float32 here and on a CPU."""
    model = "test_vit" if bench.quick else "vit_tiny_patch16_224"
    recipe = bench.recipe(model, 8, model__dropout=0, training__precision="float32")
    here, there = (bench.trainer(recipe, "eager", device) for device in (bench.device, torch.device("cpu")))
    batch, params = there.trial()
    expected = there.step.probe(batch, params, seed=0)
    moved_batch, moved_params = tree_map_only(Tensor, lambda tensor: tensor.to(bench.device), (batch, params))
    found = here.step.probe(moved_batch, moved_params, seed=0)
    return {name: abs(getattr(found, name) / getattr(expected, name) - 1) for name in expected._fields}


def no_wait(bench: Bench) -> int:
    """Steps that run while every wait of the host is an error: a chunk of parameters and a few more."""
    trainer = bench.trainer(bench.recipe("vit_tiny_patch16_224", bench.batch), "eager")
    batch, _ = trainer.trial()
    trainer.train_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(CHUNK + 2):
            trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return CHUNK + 2


# -------------------------------------------------------------------------------------------- 2 and 3: what feeds it


def loaders(bench: Bench) -> dict[str, Any]:
    """Images a second that reach the device, by loader."""
    found = compare_loaders(bench.originals.folder, bench.root / "formats", bench.device, quick=bench.quick)
    bench.panels["loading"] = found.timings
    for timing in found.timings:
        bench.row(f"loading, {timing.name}", f"{timing.images_per_second:,.0f} images/s")
    return {"timings": [asdict(timing) for timing in found.timings], "of_bare_loops": found.ratios}


def augmentation(bench: Bench) -> dict[str, Any]:
    """The report's augmentation alone, beside stock Kornia and torchvision."""
    images = draw_sketches(bench.batch, bench.size).to(bench.device)
    works = contenders(load_recipe(RECIPE).augment, images)
    check_alike(works, images)

    def several(work: Callable[[], Tensor]) -> Callable[[], None]:
        def call() -> None:
            for _ in range(CHUNK):
                work()

        return call

    turns = [Contender(name, several(work), CHUNK * bench.batch) for name, work in works.items()]
    timings = take_turns(turns, rounds=2 if bench.quick else 7)
    bench.show(f"augmentation, batch {bench.batch}, {bench.size} px", timings, "stock Kornia")
    for timing in timings:
        bench.row(f"augmentation, {timing.name}", f"{1e3 * timing.median / CHUNK:.2f} ms a batch of {bench.batch}")
    ours = min(timing.median for timing in timings if timing.name.startswith("ours"))
    bench.augment_ms = 1e3 * ours / CHUNK
    return {"batch": bench.batch, "batches_a_call": CHUNK, "timings": [asdict(timing) for timing in timings]}


# ------------------------------------------------------------------------------------------------------- 4: training


class Case(NamedTuple):
    """One way to train.

    Attributes:
        model: Our name.
        batch: Images a step.
        mode: As `training.compile`.
        precision: As `training.precision`.
    """

    model: str
    batch: int
    mode: str
    precision: str

    def __str__(self) -> str:
        return f"{self.model}, batch {self.batch}, {self.precision}, {self.mode}"


MOST_TELLING = (
    ("vit_base", 64, "default"),
    ("vit_base", 64, "eager"),
    ("vit_small", 64, "default"),
    ("resnet50", 64, "default"),
    ("vit_base", 32, "default"),
    ("vit_base", 64, "reduce-overhead"),
    ("vit_small", 64, "eager"),
    ("resnet50", 64, "eager"),
    ("vit_small", 64, "reduce-overhead"),
    ("resnet50", 64, "reduce-overhead"),
    *((model, 32, mode) for model in ("vit_small", "resnet50", "vit_base") for mode in ("default", "eager")),
)
"""Model, batch and mode, in the order of what they tell."""


def cases(bench: Bench) -> Iterator[Case]:
    """Everything in the precision that is the device's own, then in the other one that it multiplies fast."""
    device = bench.device
    own = str(resolve_precision("auto", device)).removeprefix("torch.")
    if bench.quick:
        yield from (Case("test_vit", 8, mode, own) for mode in ("eager", "default"))
        return
    precisions = [own]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FAST_BFLOAT16:
        precisions = [own, *({"float16", "bfloat16"} - {own})]
    for precision in precisions:
        yield from (Case(*telling, precision) for telling in dict.fromkeys(MOST_TELLING))


def training(bench: Bench) -> dict[str, Any]:
    """Whole training steps: images a second, share of the device's matrix products, memory."""
    ceilings: dict[str, float] = {}
    found: dict[str, Any] = {}
    timings: list[Timing] = []
    longest = {True: 60.0, False: 15.0}
    for case in cases(bench):
        compiled = case.mode != "eager"
        if not bench.has_time(str(case), longest[compiled]):
            continue
        if case.precision not in ceilings:
            ceilings[case.precision] = _ceiling(bench, case.precision)
        started = monotonic()
        try:
            found[str(case)], timing = _train(bench, case, ceilings[case.precision])
        except Exception as error:  # out of memory, or a compiler's own
            found[str(case)] = {"failed": first_line(error)}
            continue
        longest[compiled] = 1.2 * (monotonic() - started)
        timings.append(timing)
        shown = found[str(case)]
        share = f", {shown['of_ceiling']:.0%} of the matrix products' ceiling"
        bench.row(f"training, {case}", f"{timing.images_per_second:,.0f} images/s{share}")
        bench.console.print(f"{case}: {timing.images_per_second:,.0f} images/s{share}")
    if timings:
        bench.panels["training"] = timings
    return {"cases": found, "ceiling_tflops": ceilings}


def _train(bench: Bench, case: Case, ceiling: float) -> tuple[dict[str, Any], Timing]:
    torch.compiler.reset()
    gc.collect()
    recipe = bench.recipe(case.model, case.batch, training__precision=case.precision)
    trainer = bench.trainer(recipe, case.mode)
    batch, _ = trainer.trial()

    def steps() -> None:
        for each in repeat(batch, 2 if bench.quick else CHUNK):
            trainer.train_step(each)

    rounds = 2 if bench.quick else 5
    [timing] = take_turns([Contender(str(case), steps, case.batch * (2 if bench.quick else CHUNK))], rounds=rounds)
    flops = _flops_an_image(bench, recipe) * timing.images_per_second / 1e12
    record = {
        "timing": asdict(timing),
        "tflops": flops,
        "of_ceiling": flops / ceiling,
        "peak_mib": peak_bytes(lambda: trainer.train_step(batch), bench.device) / 2**20,
    }
    if bench.augment_ms and case.batch == bench.batch:
        record["augmentation_share"] = bench.augment_ms / 1e3 / (case.batch / timing.images_per_second)
        bench.row(f"augmentation of a step, {case}", f"{record['augmentation_share']:.1%}")
    return record, timing


def _flops_an_image(bench: Bench, recipe: Recipe) -> float:
    assert recipe.data.path is not None
    few = recipe.model_copy(update={"data": recipe.data.model_copy(update={"batch_size": 2})})
    task = Task(few, recipe.data.path, bench.device, False)
    bare = BareLoop(task)
    [(images, labels)] = list(islice(task.fixed(1), 1))
    return count_flops(lambda: bare.eager_loss(images, labels)) / 2


def _ceiling(bench: Bench, precision: str) -> float:
    """TFLOP/s of a large matrix product."""
    work, flops = matrix_product(bench.device, getattr(torch, precision))
    [timing] = take_turns([Contender(f"torch.mm, {precision}", work, 0)], rounds=2 if bench.quick else 7)
    ceiling = flops / timing.minimum / 1e12
    bench.row(f"matrix products, {precision}", f"{ceiling:.1f} TFLOP/s")
    return ceiling


# ------------------------------------------------------------------------------------------- 5 and 6: what it brings


def ink_tokens(bench: Bench) -> dict[str, Any]:
    """A step with ink tokens beside the dense one's, at two sizes."""
    models = {"test_vit": 2} if bench.quick else {"vit_small": 64, "vit_base": 32}
    sizes = (96, 160) if bench.quick else (224, 384)
    timings: list[Timing] = []
    memory: dict[str, float] = {}
    for model, batch in models.items():
        if not bench.has_time(model, 10):
            continue
        turns = []
        for size in sizes:
            stepper = Stepper(model, _sketches(bench, size), size, batch, bench.device)
            for case in stepper.cases(()):
                step = stepper.step(case)
                memory[case.name] = peak_bytes(step, bench.device) / 2**20
                turns.append(Contender(case.name, step, batch))
        found = take_turns(turns, rounds=2 if bench.quick else 9)
        bench.show(f"ink tokens, {model}, batch {batch}", found, f"{model} {sizes[0]} px dense")
        timings += found
        del turns, stepper, step
        gc.collect()
    brought = ratios(timings, sizes)
    for name, ratio in brought["auto_times_faster_than_dense"].items():
        bench.row(f"ink tokens, {name}, a step of the dense model", f"{ratio:.2f} times one with `auto`")
    return {"timings": [asdict(timing) for timing in timings], "peak_mib": memory, **brought}


def _sketches(bench: Bench, size: int) -> Path:
    folder = bench.root / f"{size}"
    return folder if folder.is_dir() else convert_sketches(bench.root, size)


def end_to_end(bench: Bench) -> dict[str, Any]:
    """An epoch from originals of 1111 px, beside what one would write without us."""
    model = "test_efficientnet" if bench.quick else "vit_small"
    recipe = bench.recipe(model, bench.batch, augment__thickness=0)
    task = Task(recipe, bench.originals.converted(bench.size), bench.device, False)
    title = f"an epoch of {model}, batch {bench.batch}, {bench.size} px, eager"
    timings, record = compare_epochs(task, bench.originals, bench.console, title, rounds=1 if bench.quick else 2)
    bench.panels[title] = timings
    for timing in timings:
        bench.row(f"{title}, {timing.name}", f"{timing.images_per_second:,.0f} images/s")
    return record


PARTS: tuple[tuple[float, Callable[[Bench], dict[str, Any]]], ...] = (
    (50, parity),
    (50, loaders),
    (40, augmentation),
    (220, training),
    (50, ink_tokens),
    (50, end_to_end),
)
"""Each with its share of the time."""
