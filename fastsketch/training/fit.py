"""The training loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, perf_counter, sleep

import torch

from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.training.assurance import assured
from fastsketch.training.checkpointer import Checkpointer
from fastsketch.training.checks import check_data
from fastsketch.training.data import TrainingData, open_data
from fastsketch.training.execution.allocator import freed_memory_kept
from fastsketch.training.execution.config import continued_execution
from fastsketch.training.execution.distributed import World
from fastsketch.training.head_init import solve_head
from fastsketch.training.optim import highest_lr
from fastsketch.training.run.continuation import check_continues, is_finished, settings_alike
from fastsketch.training.run.directory import Run
from fastsketch.training.run.loggers import check_loggers
from fastsketch.training.run.metrics import EpochRecord, MetricLog
from fastsketch.training.run.resume import Saved, restore, saved_states
from fastsketch.training.run.stop import Interrupted, StopController
from fastsketch.training.running_loss import reading_loss
from fastsketch.training.trainer import Trainer
from fastsketch.training.validation import Scores

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, int], None]
OnEpoch = Callable[[EpochRecord], None]
OnLoss = Callable[[float], None]

STALE = 90.0
"""Seconds after which a network drive shows every machine what another one wrote; NFS keeps what it knows for 60."""


def fit(
    recipe: Recipe,
    run: Run | str | Path,
    *,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    on_loss: OnLoss | None = None,
) -> list[EpochRecord]:
    """Train a model as `recipe` says and leave everything in `run`.

    `resume.pt` is written every `training.save_minutes`, at the end, and after an epoch where that costs little;
    `last/` and the metrics after every epoch, and `best/` if validation top-1 improved. Ctrl-C, SIGTERM and
    `training.max_minutes` stop after a step, the first two also within validation and while compiling, with everything
    saved. Whatever ended a run, `resume` continues it from the last `resume.pt`, on a CPU to the very bits of an
    undisturbed run: all that is random in a step follows from the seed and the step's number. A run that is finished
    already is left as it is.

    Under torchrun every process calls this; batches are shared out, rank 0 alone writes and calls back, and holds the
    run directory against other trainings. All read from it what the run goes on from.

    Args:
        recipe: The configuration; `data.path` says where the data set is.
        run: The run, or its folder; new unless `resume`.
        resume: Continue the run.
        on_step: Called after every step with the epoch (from 1), the steps done in it, and its steps.
        on_epoch: Called with each epoch's record.
        on_loss: Called every second or two with the mean training loss of the epoch so far; costs the device no wait.

    Returns:
        All records, those of before a resume included.

    Raises:
        ConfigError: The recipe does not fit the data set, the run or the machine.
        DataError: The data set or the run is damaged.
        FastSketchError: The loss is no longer finite, a file cannot be written, another process trains in `run`, or
            another process of this training has ended.
        Interrupted: Somebody asked to stop; it is a KeyboardInterrupt.
    """
    run, world = Run.of(run), World.of_environment()
    with world.refusing():
        device = resolve_device(world.device_name(recipe.training.device))
        check_loggers(recipe.training.loggers)
        dataset = check_data(recipe)
    stop = StopController(recipe.training.max_minutes, recipe.training.save_minutes, world, device)
    alike = {"the data set's checksum": dataset.checksum(), **settings_alike(recipe)}
    held = run.held(resume=resume, patience=world.patience)
    with (
        stop.listening(),
        stop.at_once(),
        freed_memory_kept(device),
        world.joined(device, alike),
        world.led(held, device),
    ):
        resume = world.agreed(resume, device)  # a network drive may show others what was there before
        saved, states = _saved(run, world, device) if resume else (None, iter(()))
        if resume:
            recipe = check_continues(run, recipe, dataset, saved)
        if saved is not None and world.agreed(is_finished(saved, run, recipe.training), device):
            if world.leads:
                run.create(recipe, dataset)
                MetricLog(run.metrics, saved.records).mend()
            return saved.records
        execution = None if saved is None else continued_execution(recipe, saved.execution, device)
        trainer = Trainer(recipe, dataset, device, world=world, execution=execution, pretrained=saved is None)
        data = open_data(recipe, dataset, device, world)
        if saved is None:
            _tell_beginning(recipe)
            if recipe.model.head_init == "ridge":
                solve_head(trainer)
            earlier = []
        else:
            earlier = _continue(trainer, data, restore(trainer, saved, states))
            del saved  # as large as the model and its optimizer
        if on_loss and world.leads:
            on_step = reading_loss(trainer.state, on_loss, on_step)
        checkpointer = Checkpointer(run, trainer, earlier, data.verifier, stop)
        with stop.at_once(False), checkpointer, data.verifier:
            while not trainer.is_over:
                if not _epoch(trainer, data, checkpointer, stop, on_step, on_epoch):
                    return checkpointer.records
            if not trainer.state.epoch and not assured(data.verifier, stop, checkpointer.save, world, device):
                checkpointer.save_and_stop()
                return checkpointer.records
            checkpointer.end()
        return checkpointer.records


def _saved(run: Run, world: World, device: torch.device) -> tuple[Saved | None, Iterator[Saved]]:
    """What all processes go on from, and the rest of `saved_states`.

    A network drive may show a machine what was there a minute before: as long as that is waited for.

    Raises:
        FastSketchError: Another machine has something else, or nothing.
    """
    until = monotonic() + STALE
    while True:
        states = saved_states(run.resume_path)
        saved = next(states, None)
        mark = None if saved is None else [saved.epoch, saved.steps, saved.loss_sum]
        differing = world.unlike(repr(mark), device)
        if not differing:
            return saved, states
        if world.agreed(monotonic() >= until, device):
            raise world.told(
                f"{differing} of {world.size} processes do not see in {run.root} what the first one sees there",
                "put the run directory where all machines see it, or copy it to each",
            )
        sleep(1)


def _tell_beginning(recipe: Recipe) -> None:
    model = recipe.model
    if model.weights is not None:
        log.info("%s starts from the weights in %s", model.name, model.weights)
    elif model.pretrained:
        log.info("%s starts from timm's pretrained weights", model.name)
    else:
        log.info("%s starts from random weights; --pretrained or --weights gives it timm's", model.name)
        if model.head_init == "ridge":
            log.warning(
                "model.head_init=ridge is of little use there: what is solved is a classifier of random features"
            )


def _continue(trainer: Trainer, data: TrainingData, saved: Saved) -> list[EpochRecord]:
    """Say where, and at which learning rate, a training goes on; returns the records of what it did."""
    state, before, epochs = trainer.state, saved.recipe.training.epochs, trainer.recipe.training.epochs
    log.info("continuing in epoch %d after step %d", state.epoch + 1, state.steps)
    data.verifier.doubtful = state.steps > 0
    if epochs != before:  # it goes on along its new schedule
        lr = highest_lr(state.optimizer)
        trainer.schedule.step_update(trainer.step_number)
        now = highest_lr(state.optimizer)
        steps = f": the learning rate steps from {lr:.3g} to {now:.3g}" if now != lr else ""
        log.info("%d epochs instead of %d%s", epochs, before, steps)
    return saved.records


def _epoch(
    trainer: Trainer,
    data: TrainingData,
    checkpointer: Checkpointer,
    stop: StopController,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
) -> bool:
    """One epoch, or the rest of it; False if the training is to end here, with everything saved."""
    world, state, steps = trainer.world, trainer.state, trainer.steps_per_epoch
    if trainer.phase != trainer.phase_to_come:
        tried = dict(state.compiled)
        with stop.at_once():  # all is saved
            trainer.enter_phase()
        if state.compiled != tried and trainer.step_number:
            checkpointer.save()  # or the rest of a run that is killed before the next save may be another's
    for step in trainer.train_epoch(data.train):
        if on_step and world.leads:
            on_step(state.epoch + 1, step, steps)
        if world.size == 1:
            data.verifier.tell()
        if due := stop.due(trainer.step_number, before_validation=step == steps):
            if due == "stop":
                checkpointer.save_and_stop()
                return False
            checkpointer.save()  # unverified as the data may be: no disk is so slow that the steps are lost
    try:
        scores, seconds = _validate(trainer, data, stop)
    except Interrupted:
        checkpointer.save_and_stop()
        raise
    if not assured(data.verifier, stop, checkpointer.save, world, trainer.device):
        checkpointer.save_and_stop()
        return False
    record, improved = trainer.end_epoch(scores, seconds)
    checkpointer.end_epoch(record, improved)
    if on_epoch and world.leads:
        on_epoch(record)
    if trainer.is_over:
        return True
    due = stop.due_after_epoch()
    if due == "stop":
        checkpointer.save_and_stop()
        return False
    if due or trainer.phase_to_come != trainer.phase:
        checkpointer.save()
    return True


def _validate(trainer: Trainer, data: TrainingData, stop: StopController) -> tuple[Scores | None, float]:
    """Scores, unless validation is left out, and the seconds that they took.

    Raises:
        Interrupted: In the midst of it.
    """
    started, scores = perf_counter(), None
    with stop.at_once(trainer.world.size == 1):  # several processes can part ways only where they meet
        if data.val is not None and trainer.recipe.training.validates(trainer.state.epoch + 1):
            scores = trainer.validate(data.val)
            stop.validation_seconds = perf_counter() - started
    return scores, perf_counter() - started
