"""Find the fastest way to train a model on the device at hand, and remember it.

Nobody can say beforehand what a T4's Triton supports, or which memory order its convolutions like: it is tried, a few
steps each. What fails, or departs from eager mode, is dropped. The winner is kept in the user's cache folder, for this
device, torch, model, precision, image and batch size, and is what `auto` means from then on.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

import platformdirs
import torch
from pydantic import Field, TypeAdapter, ValidationError

from fastsketch import atomic
from fastsketch.augment import create_augment
from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats.pack import PackSplit
from fastsketch.models.zoo import create_model, place
from fastsketch.training.checkpoint import InputSpec
from fastsketch.training.compilation import (
    TRIALS,
    compiled,
    difference,
    first_line,
    fit_in_memory,
    largest_divisor,
    trial_batch,
)
from fastsketch.training.optim import create_optimizer
from fastsketch.training.precision import loss_scaler, resolve_precision
from fastsketch.training.saving import saving
from fastsketch.training.sizes import final_size
from fastsketch.training.step import Probe, TrainStep
from fastsketch.training.tokens import apply_tokens, resolve_tokens

log = logging.getLogger(__name__)

WARMUP, TIMED = 2, 5
"""Steps of each setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a step; the keys are those of `training`."""

    compile: Literal["eager", "default", "reduce-overhead", "cudagraphs"]
    channels_last: Annotated[bool, Field(strict=True)]
    micro_batch: Annotated[int, Field(strict=True, ge=1)]

    def __str__(self) -> str:
        order = "channels last" if self.channels_last else "channels first"
        return f"compile {self.compile}, {order}, micro-batches of {self.micro_batch}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a setting.

    Attributes:
        setting: Which.
        seconds: Median of a step; None if it is not to be used.
        problem: Why it is not.
        memory: Peak on a GPU, in bytes; None elsewhere.
    """

    setting: Setting
    seconds: float | None
    problem: str | None = None
    memory: int | None = None


def tune(recipe: Recipe, split: PackSplit, *, classes: int, on_trial: Callable[[Trial], None] | None = None) -> Trial:
    """Time each sensible setting for a recipe and remember the fastest.

    One thing is changed at a time, from eager mode with as large micro-batches as memory allows: the memory order, the
    ways to compile, and last the micro-batch, halved as long as that helps.

    Args:
        recipe: Its `compile`, `channels_last` and `micro_batch` are what is looked for.
        split: The training split, for the size of its images, and where `model.tokens` is `auto`.
        classes: Number of classes.
        on_trial: Called with each trial.

    Raises:
        ConfigError: The recipe does not fit the machine.
        FastSketchError: Not even eager mode works.
    """
    device = resolve_device(recipe.training.device)
    size = final_size(recipe.training.image_sizes, split.images.shape[-1])
    bench = _Bench(recipe, split, size, classes, device)

    def attempt(setting: Setting) -> Trial:
        trial = bench.attempt(setting)
        if on_trial:
            on_trial(trial)
        return trial

    best = attempt(Setting("eager", True, recipe.data.batch_size))
    if best.problem is not None:
        raise FastSketchError(f"{recipe.model.name} cannot be trained here at {size} px: {best.problem}")
    modes = ("default", "reduce-overhead", "cudagraphs") if device.type == "cuda" else ("default",)
    for change in ({"channels_last": False}, *({"compile": mode} for mode in modes)):
        best = min(best, attempt(replace(best.setting, **change)), key=_seconds)  # type: ignore[arg-type]
    while (half := best.setting.micro_batch // 2) > 0:
        smaller = largest_divisor(recipe.data.batch_size, half)
        trial = attempt(replace(best.setting, micro_batch=smaller))
        if _seconds(trial) >= _seconds(best):
            break
        best = trial
    with saving(_cache()):
        atomic.write_json(_cache(), {**_remembered(), _key(recipe, size, device): asdict(best.setting)})
    return best


def tuned(recipe: Recipe, size: int, device: torch.device) -> Setting:
    """A recipe's own settings; where it says `auto`, what `tune` found best, or else what is sensible."""
    config, batch_size = recipe.training, recipe.data.batch_size
    found = Setting("default" if device.type == "cuda" else "eager", True, batch_size)
    if "auto" in (config.compile, config.channels_last) or config.micro_batch is None:
        values = _remembered().get(_key(recipe, size, device))
        if values is not None:
            try:
                found = TypeAdapter(Setting).validate_python(values)
            except ValidationError:
                log.warning("%s is damaged: `fastsketch tune` makes it anew", _cache())
            else:
                log.info("tuned for this device: %s", found)
    return Setting(
        found.compile if config.compile == "auto" else config.compile,
        found.channels_last if config.channels_last == "auto" else config.channels_last,
        config.micro_batch or found.micro_batch,
    )


class _Bench:
    """Tries settings on a model of its own, from the same weights each time."""

    def __init__(self, recipe: Recipe, split: PackSplit, size: int, classes: int, device: torch.device) -> None:
        self._recipe = recipe
        self._model = recipe.model
        self._split = split
        self._size = size
        self._classes = classes
        self._device = device
        self._eager: list[Probe] = []

    def attempt(self, setting: Setting) -> Trial:
        torch.compiler.reset()
        if self._device.type == "cuda":
            gc.collect()  # the step before refers to itself, and its weights would stay beside the next one's
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        try:
            return self._measure(setting)
        except ConfigError:
            raise
        except Exception as error:  # Dynamo, Inductor, Triton and the C++ compiler raise whatever they like
            return Trial(setting, None, first_line(error))

    def _measure(self, setting: Setting) -> Trial:
        recipe, device, batch_size = self._recipe, self._device, self._recipe.data.batch_size
        torch.manual_seed(recipe.training.seed)
        model = create_model(self._model, num_classes=self._classes, size=self._size)
        model = place(model, device, setting.channels_last).train()
        augment = create_augment(recipe.augment, self._size).to(device).train()
        self._model = resolve_tokens(self._model, model, augment, self._split)  # looks at the images once
        apply_tokens(self._model, model, InputSpec(self._size, augment.mean, augment.std))
        precision = resolve_precision(recipe.training.precision, device)
        step = TrainStep(
            model,
            augment,
            create_optimizer(model, recipe.optimizer),
            loss_scaler(device, precision),
            precision=precision,
            micro_batch=setting.micro_batch,
            config=recipe.training,
        )
        batch = trial_batch(batch_size, self._size, self._classes, device)
        draws = augment.draw(batch_size, torch.Generator(device).manual_seed(0))
        fit_in_memory(step, batch, draws)
        if setting.compile != "eager":
            step.augment, step.loss_of = compiled(augment, setting.compile), compiled(step.loss_of, setting.compile)
        probes = [step.probe(batch, draws, seed) for seed in range(TRIALS)]
        self._eager = self._eager or probes
        setting = replace(setting, micro_batch=step.micro_batch)
        if problem := difference(self._eager, probes):
            return Trial(setting, None, problem)
        seconds = []
        for _ in range(WARMUP + TIMED):
            started = perf_counter()
            float(step(batch, draws))  # waits for the device
            seconds.append(perf_counter() - started)
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        return Trial(setting, statistics.median(seconds[WARMUP:]), memory=memory)


def _seconds(trial: Trial) -> float:
    return math.inf if trial.seconds is None else trial.seconds


def _key(recipe: Recipe, size: int, device: torch.device) -> str:
    """What a setting was found for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()}"
    precision = str(resolve_precision(recipe.training.precision, device)).removeprefix("torch.")
    model = f"{recipe.model.name}, {size} px, tokens {recipe.model.tokens}, batch {recipe.data.batch_size}"
    return f"{name}; torch {torch.__version__}; {model}; {precision}"


def _cache() -> Path:
    return platformdirs.user_cache_path("fastsketch", ensure_exists=True) / "tuned.json"


def _remembered() -> dict[str, Any]:
    """What is in the cache; a damaged one is as good as none."""
    try:
        found = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
