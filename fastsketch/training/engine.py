"""The training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from time import perf_counter

import torch
from timm.utils import ModelEmaV3
from torch import nn

from fastsketch.augment import create_augment
from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.errors import FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Sampling, open_loader
from fastsketch.loaders.base import derived_seed
from fastsketch.models import create_model
from fastsketch.models.zoo import place, pretrained_normalization
from fastsketch.training.assurance import assured
from fastsketch.training.checkpoint import InputSpec, save_model
from fastsketch.training.checks import check_data
from fastsketch.training.clock import Clock, Interrupted
from fastsketch.training.continuation import check_continues
from fastsketch.training.distributed import World
from fastsketch.training.optim import create_optimizer, create_schedule, highest_rate
from fastsketch.training.precision import loss_scaler, resolve_precision
from fastsketch.training.record import write_record
from fastsketch.training.resume import (
    is_finished,
    is_over,
    remake_models,
    restore,
    save_resume,
    saveable,
    saved_states,
    tell_rate,
)
from fastsketch.training.run import Run
from fastsketch.training.services import Service, check_services, open_services
from fastsketch.training.sizes import final_size
from fastsketch.training.stages import Stage, make_step
from fastsketch.training.state import TrainState
from fastsketch.training.tokens import apply_tokens, resolve_tokens
from fastsketch.training.tracking import EpochRecord, Tracker
from fastsketch.training.tuning import tuned
from fastsketch.training.validation import accuracy_metrics, validate

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, int], None]
OnEpoch = Callable[[EpochRecord], None]


def fit(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[EpochRecord]:
    """Train a model as `recipe` says and leave everything in `run`.

    `resume.pt` is written every `training.save_minutes`, at the end, and after an epoch where that costs little;
    `last/` and the metrics after every epoch, and `best/` if validation top-1 improved. Ctrl-C, SIGTERM and
    `training.max_minutes` stop after a step, the first two also within validation and while compiling, with everything
    saved. Whatever ended a run, `resume` continues it from the last `resume.pt`, on a CPU to the very bits of an
    undisturbed run: all that is random in a step follows from the seed and the step's number. A run that is finished
    already is left as it is.

    Under torchrun every process calls this; batches are shared out, rank 0 alone writes and calls back, and holds the
    run directory against other trainings.

    Args:
        recipe: The configuration; `data.path` says where the data set is.
        run: The run directory, new unless `resume`.
        resume: Continue the run.
        on_step: Called after every step with the epoch (from 1), the steps done in it, and its steps.
        on_epoch: Called with each epoch's record.

    Returns:
        All records, those of before a resume included.

    Raises:
        ConfigError: The recipe does not fit the data set, the run or the machine.
        DataError: The data set or the run is damaged.
        FastSketchError: The loss is no longer finite, a file cannot be written, another process trains in `run`, or
            another process of this training has ended.
        Interrupted: Somebody asked to stop; it is a KeyboardInterrupt.
    """
    world = World.of_environment()
    device = resolve_device(world.device_name(recipe.training.device))
    check_services(recipe.training.trackers)
    dataset = check_data(recipe)
    clock = Clock(recipe.training.max_minutes, recipe.training.save_minutes, world, device)
    with clock.listening(), clock.at_once(), world.joined(device), world.led(run.held(resume=resume), device):
        return _fit(recipe, run, dataset, world, device, clock, resume, on_step, on_epoch)


def _fit(
    recipe: Recipe,
    run: Run,
    dataset: DatasetMetadata,
    world: World,
    device: torch.device,
    clock: Clock,
    resume: bool,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
) -> list[EpochRecord]:
    # ---------------------------------------------------------------------------------------------- what is there
    config, folder = recipe.training, recipe.data.path
    assert folder is not None, "check_data has seen it"
    saves = saved_states(run.resume) if resume else iter(())
    saved = next(saves, None)
    if resume:
        check_continues(run, recipe, dataset, saved)
    if saved is not None:
        if recipe.model.tokens == "auto":  # became a number then
            recipe = recipe.model_copy(update={"model": saved.recipe.model})
        if world.agreed(is_finished(saved, run, config), device):
            if world.leads:
                run.create(recipe, dataset)
                Tracker(run.metrics, saved.records).mend()
            return saved.records

    # ----------------------------------------------------------------------------------------------------- model
    torch.manual_seed(config.seed)
    size, classes = final_size(config.image_sizes, dataset.size), len(dataset.classes)
    initial = recipe.model
    if saved is not None:  # brings the weights: the file that they once came from need not be there any more
        initial = initial.model_copy(update={"weights": None, "pretrained": False})
    model = create_model(initial, num_classes=classes, size=size, train_sizes=config.image_sizes)
    setting = tuned(recipe, size, device)
    model = place(model, device, setting.channels_last)
    spec = _input_spec(recipe, dataset, model, size)
    augment = create_augment(recipe.augment, spec.size, spec.mean, spec.std).to(device)
    if recipe.model.tokens == "auto":  # becomes a number, for `evaluate` as well
        numbered = resolve_tokens(recipe.model, model, augment, PackSplit(folder, dataset, "train"))
        recipe = recipe.model_copy(update={"model": numbered})
    apply_tokens(recipe.model, model, spec)
    metrics = accuracy_metrics(classes).to(device)

    # --------------------------------------------------------------------------------------------------- loaders
    train = Sampling(
        world.share(recipe.data.batch_size),
        shuffle=True,
        seed=config.seed,
        drop_last=True,
        rank=world.rank,
        world_size=world.size,
    )
    opened = partial(open_loader, folder, dataset, device=device, name=recipe.data.loader, verify=recipe.data.verify)
    train_loader = opened(recipe.data.train_split, train)
    val_loader, verified = None, train_loader.verified
    if recipe.data.train_split == "train":
        val = Sampling(recipe.data.eval_batch_size, rank=world.rank, world_size=world.size)
        val_loader = opened("val", val)
        verified |= val_loader.verified
    # Of all other files damage is known before a second epoch begins.
    others = dataset.splits.values() if recipe.data.verify and world.leads else ()
    verifier = Verifier(folder, others, verified)

    # ---------------------------------------------------------------------------------------------- optimisation
    precision = resolve_precision(config.precision, device)
    steps = len(train_loader)
    state = TrainState(
        model,
        ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None,
        create_optimizer(model, recipe.optimizer),
        loss_scaler(device, precision),
        loss_sum=torch.zeros((), device=device),
    )
    schedule = create_schedule(state.optimizer, recipe.schedule, epochs=config.epochs, steps_per_epoch=steps)
    generator = torch.Generator(device)

    # -------------------------------------------------------------------------------------------- start or resume
    earlier: list[EpochRecord] = []
    if saved is not None:
        saved = restore(state, saved, saves, steps)
        earlier = saved.records
        log.info("continuing in epoch %d after step %d", state.epoch + 1, state.steps)
        verifier.doubtful = state.steps > 0
        tell_rate(state, schedule, saved.recipe.training.epochs, config.epochs, steps)
        del saved  # as large as the model and its optimizer
    elif recipe.model.weights is None and not recipe.model.pretrained:
        log.info("%s starts from random weights; --pretrained or --weights gives it timm's", recipe.model.name)
    services: Sequence[Service] = ()
    best_kept = True
    if world.leads:
        run.create(recipe, dataset)
        if earlier or state.steps:
            best_kept = remake_models(run, state, spec, dataset.classes)
        resolved = {"device": str(device), "precision": str(precision), "processes": world.size, **asdict(setting)}
        write_record(run.record, dataset, **resolved)
        services = open_services(recipe, run.root)
    if not world.agreed(best_kept, device):
        state.best_top1, state.best_epoch = -1.0, 0
    tracker = Tracker(run.metrics, earlier, services)
    if world.leads:
        tracker.mend()

    def save() -> None:
        """Write `resume.pt`. Waits for the device; with several processes all of them call this."""
        loss_sum = _finite(state, run, world)
        if world.leads:
            verifier.doubtful |= not verifier.finished(0) or verifier.damage is not None
            with clock.saving():
                save_resume(run.resume, saveable(state, loss_sum, tracker.records, recipe, dataset))

    def stop() -> None:
        """Save everything; the end, by whoever asked for it."""
        save()
        if world.leads and state.steps:
            save_model(state.shown, run.last, spec, dataset.classes)
        log.info("stopped in epoch %d after step %d of %d", state.epoch + 1, state.steps, steps)
        clock.raise_if_asked()

    # ----------------------------------------------------------------------------------------------------- epochs
    stage: Stage | None = None
    with clock.at_once(False), tracker, verifier:
        while not is_over(state, config):
            before, stage = stage, Stage.of(recipe, state.epoch, dataset.size)
            stage.enter(model, augment)
            if stage != before:
                with clock.at_once():  # all is saved
                    step = make_step(state, augment, recipe, setting, precision, dataset, world)
            started = perf_counter() - state.seconds
            for batch in train_loader.epoch(state.epoch, skip=state.steps):
                number = state.epoch * steps + state.steps
                torch.manual_seed(derived_seed(config.seed, number * world.size + world.rank))
                generator.manual_seed(derived_seed(config.seed, ~number))
                schedule.step_update(number)
                draws = world.rows(augment.draw(recipe.data.batch_size, generator))
                state.loss_sum += step(batch, draws)
                if state.average is not None:
                    state.average.update(model, number + 1)
                state.steps += 1
                if on_step and world.leads:
                    on_step(state.epoch + 1, state.steps, steps)
                if world.size == 1:
                    verifier.tell()
                if due := clock.due(number, before_validation=state.steps == steps):
                    state.seconds = perf_counter() - started
                    if due == "stop":
                        stop()
                        return tracker.records
                    save()  # unverified as the data may be: no disk is so slow that the steps are lost
            train_loss = _finite(state, run, world) / steps  # the epoch's one wait for the device
            state.seconds = trained = perf_counter() - started
            scores = None
            try:
                with clock.at_once(world.size == 1):  # several processes can part ways only where they meet
                    if val_loader is not None:
                        augment.size = spec.size
                        world.align(state.shown)
                        scores = validate(
                            state.shown,
                            augment,
                            val_loader,
                            metrics,
                            flip=recipe.evaluation.flip,
                            precision=precision,
                            world=world,
                        )
                        clock.validation_seconds = perf_counter() - started - trained
            except Interrupted:
                stop()
                raise
            if not assured(verifier, clock, save, world, device):
                stop()
                return tracker.records
            record = EpochRecord(
                epoch=state.epoch + 1,
                step=(state.epoch + 1) * steps,
                lr=highest_rate(state.optimizer),
                train_loss=train_loss,
                val_loss=scores and scores.loss,
                val_top1=scores and scores.top1,
                val_top5=scores and scores.top5,
                seconds=perf_counter() - started,
                images_per_second=train_loader.samples * world.size / trained,
            )
            state.next_epoch()
            improved = scores is None or scores.top1 > state.best_top1
            if scores is not None and improved:
                state.best_top1, state.best_epoch = scores.top1, state.epoch
            if world.leads:
                for kept in (run.last, run.best) if improved else (run.last,):
                    save_model(state.shown, kept, spec, dataset.classes)
                tracker.add(record)
                if on_epoch:
                    on_epoch(record)
            if is_over(state, config):
                break
            due = clock.due_after_epoch()
            if due == "stop":
                stop()
                return tracker.records
            if due or Stage.of(recipe, state.epoch, dataset.size) != stage:
                save()
        save()
    return tracker.records


def _finite(state: TrainState, run: Run, world: World) -> float:
    """The epoch's sum of losses so far, a mean over the processes. Waits for the device.

    Raises:
        FastSketchError: It is not finite.
    """
    loss_sum = float(world.sum(state.loss_sum.clone())) / world.size
    if not math.isfinite(loss_sum):
        raise FastSketchError(
            f"the training loss became {loss_sum} in epoch {state.epoch + 1}",
            hint=f"try a smaller optimizer.lr; what {run.root} holds is from before",
        )
    return loss_sum


def _input_spec(recipe: Recipe, dataset: DatasetMetadata, model: nn.Module, size: int) -> InputSpec:
    """What the model is shown: the size, and the normalisation that the recipe asks for."""
    match recipe.augment.normalize:
        case "unit":
            mean, std = 0.0, 1.0
        case "standard":
            train = dataset.split(recipe.data.train_split)
            mean, std = train.pixel_mean, train.pixel_std
        case "pretrained":
            mean, std = pretrained_normalization(model)
    return InputSpec(size, mean, std)
