"""`Trainer`: the one place where a training is put together."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from fastsketch.augment import SketchAugment, create_augment
from fastsketch.augment.params import AugmentParams
from fastsketch.config import Recipe
from fastsketch.errors import FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Batch, Loader
from fastsketch.loaders.base import derived_seed
from fastsketch.models import create_model
from fastsketch.models.convolutions import quicken_convolutions
from fastsketch.models.zoo import pretrained_normalization, to_device
from fastsketch.preprocess import Preprocess
from fastsketch.training.ema import Ema
from fastsketch.training.execution.compile import compile_step, compiled, fit_in_memory, largest_divisor, trial_batch
from fastsketch.training.execution.config import ExecutionConfig, resolve_execution
from fastsketch.training.execution.distributed import World
from fastsketch.training.execution.precision import loss_scaler, resolve_precision
from fastsketch.training.execution.step import TrainStep
from fastsketch.training.optim import create_optimizer, create_schedule, highest_lr
from fastsketch.training.phases import Phase
from fastsketch.training.progressive_resize import final_size
from fastsketch.training.run.metrics import EpochRecord
from fastsketch.training.state import TrainState
from fastsketch.training.step_params import StepParams
from fastsketch.training.tokens import apply_tokens, resolve_tokens
from fastsketch.training.validation import Scores, accuracy_metrics, validate

log = logging.getLogger(__name__)


class Trainer:
    """Model, augmentation, optimizer, schedule, EMA, precision and execution of one training, between two steps.

    All that is random in a step follows from the seed and the step's number: a trainer that another's `state_dict` is
    loaded into goes on as that one would have, on a CPU to the bit.

        trainer = Trainer(recipe, dataset, device)
        while not trainer.is_over:
            trainer.enter_phase()
            for step in trainer.train_epoch(train_loader): ...
            record, improved = trainer.end_epoch(trainer.validate(val_loader))

    Args:
        recipe: What is trained, and how.
        dataset: On which data set; `data.path` says where it is.
        device: Where.
        world: The processes that train together.
        execution: How a step runs; by default what the recipe says, where it says `auto` what `autotune` found.
        pretrained: Whether the model begins with the weights that the recipe names; not where a state is loaded.
        model: Trained instead of the recipe's, whose name, weights and head then do not count.

    Attributes:
        recipe: With `model.tokens` resolved to a number where it said `auto`.
        preprocess: What the model is shown in validation, and is saved with.
        precision: What the model computes in.
        state: All that changes from step to step.
        schedule: The learning rate.
        steps_per_epoch: Of whole batches.
        phase: The one that `step` was made for; None before the first.
        augment: Of that phase.
        step_params: And its parameters.
        step: Of that phase; see `enter_phase`.

    Raises:
        ConfigError: The recipe does not fit the data set or the machine.
        DataError: The weights or the data set are damaged.
    """

    augment: SketchAugment
    step_params: StepParams
    step: TrainStep

    def __init__(
        self,
        recipe: Recipe,
        dataset: DatasetMetadata,
        device: torch.device,
        *,
        world: World = World(),  # noqa: B008, it cannot be changed
        execution: ExecutionConfig | None = None,
        pretrained: bool = True,
        model: nn.Module | None = None,
    ) -> None:
        config, classes = recipe.training, len(dataset.classes)
        self.dataset, self.device, self.world = dataset, device, world
        torch.manual_seed(config.seed)
        size = final_size(config.image_sizes, dataset.size)
        if model is None:
            wanted = recipe.model if pretrained else recipe.model.without_weights()
            model = create_model(wanted, num_classes=classes, size=size, train_sizes=config.image_sizes)
        self.execution = execution or _execution(recipe, size, device, world)
        model = to_device(model, device, self.execution.channels_last)
        if device.type == "cpu":
            quicken_convolutions(model)
        self.preprocess = _preprocess(recipe, dataset, model, size)
        self.recipe = resolve_tokens(recipe, model, create_augment(recipe.augment, self.preprocess).to(device), dataset)
        apply_tokens(self.recipe.model, model, self.preprocess)
        self.precision = resolve_precision(config.precision, device)
        self.state = TrainState(
            model,
            Ema(model, config.ema) if config.ema else None,
            create_optimizer(model, recipe.optimizer),
            loss_scaler(device, self.precision),
            loss_sum=torch.zeros((), device=device),
        )
        self.steps_per_epoch = dataset.split(recipe.data.train_split).samples // recipe.data.batch_size
        self.schedule = create_schedule(
            self.state.optimizer, recipe.schedule, epochs=config.epochs, steps_per_epoch=self.steps_per_epoch
        )
        self.phase: Phase | None = None
        self._metrics = accuracy_metrics(classes).to(device)

    @property
    def model(self) -> nn.Module:
        """The model that is trained; `state.eval_model` is the one that is validated and saved."""
        return self.state.model

    @property
    def is_over(self) -> bool:
        """Whether there is no epoch to come: all are done, or the best one is too long ago."""
        return self.state.is_over(self.recipe.training)

    @property
    def step_number(self) -> int:
        """Steps done since the training began."""
        return self.state.epoch * self.steps_per_epoch + self.state.steps

    @property
    def phase_to_come(self) -> Phase:
        """That of the epoch to come or begun."""
        return Phase.of(self.recipe, self.state.epoch, self.dataset.size)

    # -------------------------------------------------------------------------------------------------- training

    def enter_phase(self, *, checked: bool = True) -> None:
        """Make the step of `phase_to_come`: as large micro-batches as memory allows, compiled if `execution` says so.

        Nothing is to be done where that phase was entered before; where it compiles it takes minutes. The state stays,
        but that on a CPU it says what was compiled.

        Args:
            checked: Compile only if that works, gives what eager mode gives and is faster.

        Raises:
            FastSketchError: Not even a single image fits in the device's memory.
        """
        phase, share = self.phase_to_come, self.world.share(self.recipe.data.batch_size)
        if phase == self.phase:
            return
        config, device = self.recipe.training, self.device
        phase.prepare(self.model)
        self.augment = create_augment(self.recipe.augment, replace(self.preprocess, size=phase.size)).to(device)
        self.step_params = StepParams(self.augment, self.recipe.data.batch_size, config.seed, device)
        self.step = step = TrainStep(
            self.model,
            self.augment,
            self.state.optimizer,
            self.state.scaler,
            precision=self.precision,
            micro_batch=largest_divisor(share, min(share, self.execution.micro_batch)),
            config=config,
        )
        if self.phase is not None and self.execution.compile != "eager":
            torch.compiler.reset()  # or earlier phases count towards the forms of a function that Dynamo allows
        if device.type == "cuda":
            fit_in_memory(step, *self.trial())  # alone: processes that wait for each other cannot run out of it apart
        step.model = self.world.wrap(self.model)
        self._compile(phase, checked)
        self.phase = phase

    def _compile(self, phase: Phase, checked: bool) -> None:
        """Compile the new step of a phase if `execution` says so and, where that is `checked`, if it works and pays.

        A compiled step rounds otherwise than an eager one, and which is faster may change from start to start: on a
        CPU, where a run that is continued has the bits of an undisturbed one, a phase goes on as it began.
        """
        step, mode = self.step, self.execution.compile
        if mode == "eager":
            return
        if not checked:
            step.augment, step.loss_of = compiled(self.augment, mode), compiled(step.loss_of, mode)
            return
        kept, key = self.state.compiled if self.device.type == "cpu" else {}, f"{mode}: {phase}"
        began = kept.get(key)
        if began is False:
            log.info("not compiled (%s): nor was it when these epochs began; another training.compile is tried", mode)
            return
        kept[key] = compile_step(step, self.augment, *self.trial(), mode, self.world, if_slower=began is True)

    def trial(self) -> tuple[Batch, AugmentParams]:
        """A batch like the loader's, always the same, and parameters for it: to try a step on."""
        size, share = self.recipe.data.batch_size, self.world.share(self.recipe.data.batch_size)
        batch = trial_batch(share, self.dataset.size, len(self.dataset.classes), self.device)
        params = self.augment.sample_params(size, torch.Generator(self.device).manual_seed(0))
        return batch, self.world.rows(params)

    def train_step(self, batch: Batch) -> Tensor:
        """Augment a batch, learn from it; return its mean loss, float32 [], without waiting for the device.

        Args:
            batch: This process's share, images at the data set's size.
        """
        number, seed, world = self.step_number, self.recipe.training.seed, self.world
        torch.manual_seed(derived_seed(seed, number * world.size + world.rank))
        self.schedule.step_update(number)
        loss = self.step(batch, world.rows(self.step_params.of(number)))
        self.state.loss_sum += loss
        if self.state.ema is not None:
            self.state.ema.follow(number + 1)
        self.state.steps += 1
        return loss

    def train_epoch(self, loader: Loader) -> Iterator[int]:
        """Train on the rest of the epoch; yields, after each step, how many of the epoch are done.

        At the end it waits for the device, the only time in an epoch.

        Raises:
            FastSketchError: The loss is no longer finite.
        """
        assert self.phase is not None, "enter_phase comes first"
        self.phase.prepare(self.model)
        started = perf_counter() - self.state.seconds
        for batch in loader.epoch(self.state.epoch, skip=self.state.steps):
            self.train_step(batch)
            self.state.seconds = perf_counter() - started
            yield self.state.steps
        self._train_loss = self.loss_sum() / self.steps_per_epoch
        self.state.seconds = perf_counter() - started

    def loss_sum(self) -> float:
        """The sum of the losses of the epoch's steps so far, a mean over the processes. Waits for the device.

        Raises:
            FastSketchError: It is not finite.
        """
        loss_sum = float(self.world.sum(self.state.loss_sum.clone())) / self.world.size
        if not math.isfinite(loss_sum):
            raise FastSketchError(
                f"the training loss became {loss_sum} in epoch {self.state.epoch + 1}",
                hint="try a smaller optimizer.lr; what is saved is from before",
            )
        return loss_sum

    # ------------------------------------------------------------------------------------- validation and the state

    def validate(self, loader: Loader) -> Scores:
        """Scores of `state.eval_model`; with several processes, of the whole split in each."""
        self.world.align(self.state.eval_model)
        return validate(
            self.state.eval_model,
            self.preprocess,
            loader,
            self._metrics,
            flip=self.recipe.evaluation.flip,
            precision=self.precision,
            world=self.world,
        )

    def end_epoch(self, scores: Scores | None, seconds: float = 0.0) -> tuple[EpochRecord, bool]:
        """Go on to the next epoch.

        Args:
            scores: Of the epoch that was trained; None without validation.
            seconds: What validation took.

        Returns:
            The record of the epoch, and whether it is the best so far.
        """
        state = self.state
        images = self.steps_per_epoch * self.recipe.data.batch_size
        record = EpochRecord(
            epoch=state.epoch + 1,
            step=(state.epoch + 1) * self.steps_per_epoch,
            lr=highest_lr(state.optimizer),
            train_loss=self._train_loss,
            val_loss=scores and scores.loss,
            val_top1=scores and scores.top1,
            val_top5=scores and scores.top5,
            seconds=state.seconds + seconds,
            images_per_second=images / state.seconds,
        )
        return record, state.next_epoch(None if scores is None else scores.top1)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step needs, as tensors and plain values. Every process calls it; it waits for the device.

        Raises:
            FastSketchError: The loss is no longer finite.
        """
        execution = asdict(self.execution) if self.device.type == "cpu" else None
        return {**self.state.state_dict(self.loss_sum()), "execution": execution}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of the same recipe on the same data; device and execution may be others.

        It comes before `enter_phase`, which may depend on it.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError: It is no such state; this trainer
                is good for nothing then but to load another.
        """
        if state["steps"] > self.steps_per_epoch:
            raise ValueError(f"step {state['steps']} of {self.steps_per_epoch}")
        self.state.load_state_dict(state)


def _execution(recipe: Recipe, size: int, device: torch.device, world: World) -> ExecutionConfig:
    """How a step runs: as rank 0 resolves it. Each machine remembers what it tuned, but all compile together.

    How much of a batch fits into memory is each machine's own.
    """
    found = resolve_execution(recipe, size, device)
    leading = ExecutionConfig(**json.loads(world.first(json.dumps(asdict(found)), device)))
    return replace(leading, micro_batch=found.micro_batch)


def _preprocess(recipe: Recipe, dataset: DatasetMetadata, model: nn.Module, size: int) -> Preprocess:
    """What the model is shown: the size, and the normalisation that the recipe asks for."""
    match recipe.augment.normalize:
        case "unit":
            return Preprocess(size)
        case "standard":
            train = dataset.split(recipe.data.train_split)
            return Preprocess(size, train.pixel_mean, train.pixel_std)
        case "pretrained":
            return Preprocess(size, *pretrained_normalization(model))
