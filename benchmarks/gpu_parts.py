"""The parts of `gpu`, in the order of their worth."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastsketch.augment import create_augment
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe, recipe_names
from fastsketch.training.execution.compile import compiled, trial_batch
from fastsketch.training.step_params import CHUNK

from .augment import check_alike, contenders, draw_sketches
from .common import Contender, Timing, peak_bytes, take_turns
from .epochs import compare_epochs
from .gpu_bench import RECIPE, Bench
from .gpu_training import training
from .ink_tokens import Stepper, convert_sketches, ratios
from .loaders import compare_loaders
from .loops import Task

CLASSES = 250

AUGMENT_TOLERANCE = 2e-3
"""Of a gray value in [0, 1]: positions are rounded otherwise, by about 1e-5 of a pixel, and lines are steep."""

STEP_TOLERANCE = 1e-2
"""Of a loss and of a gradient's norm: a GPU may multiply float32 with fewer digits."""


# --------------------------------------------------------------------------------------------------------- 1: right


def parity(bench: Bench) -> None:
    """Every recipe's augmentation and a training step against the CPU's; no step waits for the device."""
    apart = bench.found["augmentation"] = {name: augmented_apart(bench, name) for name in recipe_names()}
    for name in (RECIPE, "vit-base-224"):
        if bench.has_time(f"augmentation, {name}, compiled", 20):
            apart[f"{name}, compiled"] = augmented_apart(bench, name, "default")
    worst = max(apart, key=apart.__getitem__)
    bench.row("augmentation, largest difference to a CPU's", f"{apart[worst]:.1e}")
    step = bench.found["step"] = step_apart(bench)
    bench.row("loss of a step, relative difference to a CPU's", f"{step['loss']:.1e}")
    if bench.device.type == "cuda":
        bench.found["steps_without_a_wait"] = no_wait(bench)
    if apart[worst] > AUGMENT_TOLERANCE:
        raise AssertionError(f"{worst} augments otherwise than on a CPU, by {apart[worst]:.2g} of a gray value")
    if max(step.values()) > STEP_TOLERANCE:
        raise AssertionError(f"a training step is another than on a CPU: {step}")


def augmented_apart(bench: Bench, name: str, mode: str | None = None) -> float:
    """Largest difference between what a recipe makes of the same images and parameters here and on a CPU."""
    augment = create_augment(load_recipe(name).augment, Preprocess(bench.size))
    batch = trial_batch(bench.batch, bench.size, CLASSES, torch.device("cpu"))
    given = (batch.images, batch.labels, augment.sample_params(bench.batch, torch.Generator().manual_seed(0)))
    expected, _ = augment(*given)
    augment = augment.to(bench.device)
    here = augment if mode is None else compiled(augment, mode)
    found, _ = here(*tree_map_only(Tensor, lambda tensor: tensor.to(bench.device), given))
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


def loaders(bench: Bench) -> None:
    """Images a second that reach the device, by loader that is installed."""
    found = compare_loaders(bench.originals.folder, bench.root / "formats", bench.device, quick=bench.quick)
    bench.found |= {"timings": [asdict(timing) for timing in found.timings], "of_bare_loops": found.ratios}
    bench.panels["loading"] = found.timings
    for timing in found.timings:
        bench.row(f"loading, {timing.name}", f"{timing.images_per_second:,.0f} images/s")


def augmentation(bench: Bench) -> None:
    """The report's augmentation alone, beside stock Kornia and torchvision."""
    images = draw_sketches(bench.batch, bench.size).to(bench.device)
    works = contenders(load_recipe(RECIPE).augment, images)
    del works["stock Kornia compiled"]  # which its graph breaks make compile again and again, for minutes
    check_alike(works, images)

    def several(work: Callable[[], Tensor]) -> Callable[[], None]:
        def call() -> None:
            for _ in range(CHUNK):
                work()

        return call

    turns = [Contender(name, several(work), CHUNK * bench.batch) for name, work in works.items()]
    timings = take_turns(turns, rounds=2 if bench.quick else 7)
    bench.found |= {"batch": bench.batch, "batches_a_call": CHUNK, "timings": [asdict(timing) for timing in timings]}
    bench.show(f"augmentation, batch {bench.batch}, {bench.size} px", timings, "stock Kornia")
    for timing in timings:
        bench.row(f"augmentation, {timing.name}", f"{1e3 * timing.median / CHUNK:.2f} ms a batch of {bench.batch}")
    milliseconds = {timing.name: 1e3 * timing.median / CHUNK for timing in timings}
    bench.augment_ms = {"eager": milliseconds["ours"], "compiled": milliseconds["ours compiled"]}


# ------------------------------------------------------------------------------------------- 5 and 6: what it brings


def ink_tokens(bench: Bench) -> None:
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
                stepper.trainer.state.optimizer.zero_grad()
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
    bench.found |= {"timings": [asdict(timing) for timing in timings], "peak_mib": memory, **brought}


def _sketches(bench: Bench, size: int) -> Path:
    folder = bench.root / f"{size}"
    return folder if folder.is_dir() else convert_sketches(bench.root, size)


def end_to_end(bench: Bench) -> None:
    """An epoch from originals of 1111 px, beside what one would write without us."""
    model = "test_efficientnet" if bench.quick else "vit_small"
    recipe = bench.recipe(model, bench.batch, augment__thickness=0)
    task = Task(recipe, bench.originals.converted(bench.size), bench.device, False)
    title = f"an epoch of {model}, batch {bench.batch}, {bench.size} px, eager"
    timings, bench.found = compare_epochs(task, bench.originals, bench.console, title, rounds=1 if bench.quick else 2)
    bench.panels[title] = timings
    for timing in timings:
        bench.row(f"{title}, {timing.name}", f"{timing.images_per_second:,.0f} images/s")


PARTS: tuple[tuple[float, Callable[[Bench], None]], ...] = (
    (50, parity),
    (50, loaders),
    (40, augmentation),
    (220, training),
    (50, ink_tokens),
    (50, end_to_end),
)
"""Each with its share of the time."""
