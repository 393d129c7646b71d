"""A training step of ours beside the bare model's and the augmentation, each timed alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import count, islice
from time import perf_counter
from typing import Any

import torch
from rich.console import Console

from .ceilings import count_flops, matrix_product
from .common import Contender, Timing, print_table, synchronize, take_turns
from .loops import BareLoop, OurLoop, Task
from .watch import Watch

OVERHEAD = 1.05
"""What is aimed at: our step over bare step and augmentation."""


def compare_steps(task: Task, console: Console, title: str, *, rounds: int) -> tuple[list[Timing], dict[str, object]]:
    """Our step, the bare step and the augmentation, all eager or all compiled."""
    torch.compiler.reset()
    steps = 10 if task.device.type == "cuda" else 1
    watch = Watch()
    ours, bare = OurLoop(task), BareLoop(task)
    tensors = task.fixed(steps)
    multiply, flops_of_product = matrix_product(task.device, task.precision)
    contenders = [
        Contender("torch.mm", multiply, 0),
        watch.contender("fastsketch", partial(ours.steps, steps), steps * task.batch),
        watch.contender("bare step", partial(bare.train, tensors), steps * task.batch),
        Contender("augmentation", augmentation(ours, steps), steps * task.batch),
    ]
    product, *timings = take_turns(contenders, rounds=rounds)
    watch.check()
    images, labels = next(iter(tensors))
    flops = steps * count_flops(lambda: bare.eager_loss(images, labels))
    ceiling = flops_of_product / product.minimum / 1e12
    reached = {timing.name: flops / timing.median / 1e12 for timing in timings if timing.name != "augmentation"}
    ratios = over_bare(timings)
    parts = breakdown(ours, rounds)
    print_table(title, timings, baseline="bare step")
    lower, ratio, upper = ratios
    console.print(
        f"fastsketch: {ratio:.3f} × (bare step + augmentation), aim ≤ {OVERHEAD}; "
        f"{lower:.3f}–{upper:.3f} in the middle half of the rounds"
    )
    for name, each in reached.items():
        console.print(f"{name}: {each:.3f} TFLOP/s, {each / ceiling:.0%} of torch.mm's {ceiling:.3f}")
    console.print("fastsketch, ms: " + ", ".join(f"{part} {value:.1f}" for part, value in parts.items()) + "\n")
    return timings, {
        "timings": [asdict(timing) for timing in timings],
        "compiled": task.compiled,
        "first_losses": watch.first_losses,
        "over_bare_and_augmentation_quartiles": ratios,
        "breakdown_ms": parts,
        "gflop_a_step": flops / steps / 1e9,
        "ceiling_tflops": ceiling,
        "tflops": reached,
    }


def over_bare(timings: list[Timing]) -> list[float]:
    """Our step's time over the sum of bare step and augmentation, round by round: the three quartiles."""
    rounds = {timing.name: timing.rounds for timing in timings}
    contenders = (rounds[name] for name in ("fastsketch", "bare step", "augmentation"))
    return statistics.quantiles((ours / (bare + augment) for ours, bare, augment in zip(*contenders, strict=True)))


def augmentation(loop: OurLoop, steps: int) -> Callable[[], None]:
    """Parameters and augmentation of a batch, as they are in the step."""
    batch, trainer, numbers = loop.task.trial(), loop.trainer, count()

    def work() -> None:
        for number in islice(numbers, steps):
            trainer.step.augment(batch.images, batch.labels, trainer.step_params.of(number))

    return work


def breakdown(loop: OurLoop, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step's parts, one after the other and, on a GPU, each waited for.

    With the waiting the sum is more than a step takes in training, where the host runs ahead. The loop is good for
    nothing else afterwards.
    """
    parts: dict[str, list[float]] = {name: [] for name in ("load", "augment", "forward", "backward", "optimizer")}
    last = 0.0

    def lap(part: str) -> None:
        nonlocal last
        synchronize()
        now = perf_counter()
        parts[part].append(1e3 * (now - last))
        last = now

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            result = function(*arguments)
            lap(part)
            return result

        return call

    trainer = loop.trainer
    trainer.step.augment = timed(trainer.step.augment, "augment")
    trainer.step.loss_of = timed(trainer.step.loss_of, "forward")
    trainer.state.optimizer.register_step_pre_hook(lambda *_: lap("backward"))
    trainer.state.optimizer.register_step_post_hook(lambda *_: lap("optimizer"))
    for _ in range(rounds):
        synchronize()
        last = perf_counter()
        batch = next(loop.batches)
        lap("load")
        trainer.train_step(batch)
    return {part: statistics.median(milliseconds) for part, milliseconds in parts.items()}
