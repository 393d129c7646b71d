"""Whole epochs from 1111 px originals: ours, which converted them before, and the loops that read files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from time import perf_counter

import torch
from rich.console import Console

from fastsketch.models.zoo import timm_name

from .common import Timing, print_table, take_turns
from .loops import BareLoop, OurLoop, Task
from .originals import Originals
from .rivals import TimmLoop, image_folder, timm_loader
from .sixty_lines import SixtyLines
from .watch import Outcome, Watch

SPEEDUP = 5.0
"""What is aimed at: our epoch against ImageFolder's."""


def compare_epochs(
    task: Task, data: Originals, console: Console, title: str, *, rounds: int
) -> tuple[list[Timing], dict[str, object]]:
    """Ours and its rivals, all eager or all compiled.

    The first epoch of each is not timed: there workers start and import, and compilers compile.
    """
    torch.compiler.reset()
    watch, size = Watch(), task.dataset.size
    ours = OurLoop(task)
    images = len(ours.loader) * task.batch
    resident, sixty_seconds = sixty_lines(task, data)
    contenders: dict[str, Callable[[], Outcome]] = {
        "fastsketch": ours.epoch,
        "tensor, Kornia, torch.compile" if task.compiled else "tensor, Kornia": resident,
        "ImageFolder, resized": partial(BareLoop(task).train, image_folder(task, data.resized(size))),
        "timm": partial(TimmLoop(task).train, timm_loader(task, data.folder)),
        "torchvision ImageFolder": partial(BareLoop(task).train, image_folder(task, data.folder)),
    }
    timings = take_turns([watch.contender(name, epoch, images) for name, epoch in contenders.items()], rounds=rounds)
    watch.check()
    base = next(timing.median for timing in timings if timing.name == "torchvision ImageFolder")
    print_table(title, timings, baseline="torchvision ImageFolder")
    console.print(
        f"aim ≥ {SPEEDUP:g} × torchvision ImageFolder; converted once in {data.seconds[size]:.1f} s, "
        f"the sixty lines decode in {sixty_seconds:.1f} s each time\n"
    )
    return timings, {
        "timings": [asdict(timing) for timing in timings],
        "compiled": task.compiled,
        "first_losses": watch.first_losses,
        "over_image_folder": {timing.name: base / timing.median for timing in timings},
        "convert_seconds": data.seconds[size],
        "sixty_lines_load_seconds": sixty_seconds,
    }


def sixty_lines(task: Task, data: Originals) -> tuple[Callable[[], Outcome], float]:
    """Epochs of `SixtyLines`, and the seconds that it took to begin."""
    recipe, started = task.recipe, perf_counter()
    rival = SixtyLines(
        data.folder,
        timm_name(recipe.model.name),
        task.dataset.size,
        task.batch,
        recipe.optimizer.lr,
        task.device,
        task.precision,
    )
    seconds = perf_counter() - started
    if task.compiled:
        rival.compile()
    return lambda: Outcome(*rival.epoch()), seconds
