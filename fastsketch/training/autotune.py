"""Find the fastest way to train a model on the device at hand, and remember it.

Nobody can say beforehand what a T4's Triton supports, or which memory order its convolutions like: it is tried, a few
steps each. What fails, or departs from eager mode, is dropped. The winner is kept in the user's cache folder, for this
device, torch, model, precision, image and batch size, and is what `auto` means from then on.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.execution.compile import TRIALS, difference, first_line, largest_divisor
from fastsketch.training.execution.config import ExecutionConfig, remember_execution
from fastsketch.training.execution.step import Probe
from fastsketch.training.progressive_resize import final_size
from fastsketch.training.trainer import Trainer

WARMUP, TIMED = 2, 5
"""Steps of each way."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a way to run a step.

    Attributes:
        execution: Which.
        seconds: Median of a step, from a uint8 batch to changed weights; None if it is not to be used.
        problem: Why it is not.
        memory: Peak on a GPU, in bytes; None elsewhere.
    """

    execution: ExecutionConfig
    seconds: float | None
    problem: str | None = None
    memory: int | None = None


def autotune(recipe: Recipe, dataset: DatasetMetadata, *, on_trial: Callable[[Trial], None] | None = None) -> Trial:
    """Time each sensible way to train as a recipe says, and remember the fastest.

    One thing is changed at a time, from eager mode with as large micro-batches as memory allows: the memory order, the
    ways to compile, and last the micro-batch, halved as long as that helps.

    Args:
        recipe: Its `compile`, `channels_last` and `micro_batch` are what is looked for.
        dataset: The data set at its `data.path`.
        on_trial: Called with each trial.

    Raises:
        ConfigError: The recipe does not fit the data set or the machine.
        FastSketchError: Not even eager mode works.
    """
    device = resolve_device(recipe.training.device)
    size = final_size(recipe.training.image_sizes, dataset.size)
    bench = _Bench(recipe, dataset, device)

    def attempt(execution: ExecutionConfig) -> Trial:
        trial = bench.attempt(execution)
        if on_trial:
            on_trial(trial)
        return trial

    best = attempt(ExecutionConfig("eager", True, recipe.data.batch_size))
    if best.problem is not None:
        raise FastSketchError(f"{recipe.model.name} cannot be trained here at {size} px: {best.problem}")
    modes = ("default", "reduce-overhead", "cudagraphs") if device.type == "cuda" else ("default",)
    for change in ({"channels_last": False}, *({"compile": mode} for mode in modes)):
        best = min(best, attempt(replace(best.execution, **change)), key=_seconds)  # type: ignore[arg-type]
    while (half := best.execution.micro_batch // 2) > 0:
        smaller = largest_divisor(recipe.data.batch_size, half)
        trial = attempt(replace(best.execution, micro_batch=smaller))
        if _seconds(trial) >= _seconds(best):
            break
        best = trial
    remember_execution(best.execution, recipe, size, device)
    return best


class _Bench:
    """Tries ways on a trainer of its own, from the same weights each time."""

    def __init__(self, recipe: Recipe, dataset: DatasetMetadata, device: torch.device) -> None:
        # At its end the images have the size at which a step costs most, and all weights learn.
        self._recipe = recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"image_sizes": recipe.training.image_sizes[-1:]})}
        )
        self._dataset = dataset
        self._device = device
        self._eager: list[Probe] = []

    def attempt(self, execution: ExecutionConfig) -> Trial:
        torch.compiler.reset()
        if self._device.type == "cuda":
            gc.collect()  # the step before refers to itself, and its weights would stay beside the next one's
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        try:
            return self._measure(execution)
        except ConfigError:
            raise
        except Exception as error:  # Dynamo, Inductor, Triton and the C++ compiler raise whatever they like
            return Trial(execution, None, first_line(error))

    def _measure(self, execution: ExecutionConfig) -> Trial:
        trainer = Trainer(self._recipe, self._dataset, self._device, execution=execution)
        self._recipe = trainer.recipe  # `model.tokens` is a number now, for which the images were looked at
        trainer.state.epoch = self._recipe.training.freeze_epochs
        trainer.enter_phase(checked=False)
        batch, params = trainer.trial()
        probes = [trainer.step.probe(batch, params, seed) for seed in range(TRIALS)]
        self._eager = self._eager or probes
        execution = replace(execution, micro_batch=trainer.step.micro_batch)
        if problem := difference(self._eager, probes, trainer.precision):
            return Trial(execution, None, problem)
        seconds = []
        for _ in range(WARMUP + TIMED):
            started = perf_counter()
            float(trainer.train_step(batch))  # waits for the device
            seconds.append(perf_counter() - started)
        memory = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
        return Trial(execution, statistics.median(seconds[WARMUP:]), memory=memory)


def _seconds(trial: Trial) -> float:
    return math.inf if trial.seconds is None else trial.seconds
