"""The training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import NamedTuple

import torch
from timm.utils import ModelEmaV3
from torch import nn

from fastsketch.augment import SketchAugment, create_augment
from fastsketch.augment.draws import Draws
from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Batch, Sampling, open_loader
from fastsketch.loaders.base import derived_seed
from fastsketch.models import create_model, freeze_backbone
from fastsketch.models.zoo import place, pretrained_normalization
from fastsketch.training.checkpoint import InputSpec, load_resume, save_model, save_resume
from fastsketch.training.clock import Clock
from fastsketch.training.compilation import compile_step, fit_in_memory, largest_divisor, trial_batch
from fastsketch.training.distributed import World
from fastsketch.training.optim import create_optimizer, create_schedule
from fastsketch.training.precision import loss_scaler, resolve_precision
from fastsketch.training.record import write_record
from fastsketch.training.run import Run
from fastsketch.training.services import Service, check_services, open_services
from fastsketch.training.sizes import final_size, image_size_at
from fastsketch.training.state import TrainState
from fastsketch.training.step import TrainStep
from fastsketch.training.tokens import apply_tokens, resolve_tokens
from fastsketch.training.tracking import EpochRecord, Tracker
from fastsketch.training.tuning import Setting, tuned
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
    `training.max_minutes` stop after a step with everything saved. Whatever ended a run, `resume` continues it from
    the last `resume.pt`, on a CPU to the very bits of an undisturbed run: all that is random in a step follows from
    the seed and the step's number.

    Under torchrun every process calls this; batches are shared out, rank 0 alone writes and calls back.

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
        FastSketchError: The loss is no longer finite.
        KeyboardInterrupt: Somebody asked to stop.
    """
    world = World.of_environment()
    device = resolve_device(world.device_name(recipe.training.device))
    with world.joined(device):
        return _fit(recipe, run, world, device, resume, on_step, on_epoch)


def _fit(
    recipe: Recipe,
    run: Run,
    world: World,
    device: torch.device,
    resume: bool,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
) -> list[EpochRecord]:
    # ------------------------------------------------------------------------------------------------------ data
    check_services(recipe.training.trackers)
    config, folder = recipe.training, recipe.data.path
    if folder is None:
        raise ConfigError("no data set given", hint="set data.path")
    dataset = DatasetMetadata.load(folder)
    if recipe.data.train_split == "train" and "val" not in dataset.splits:
        raise ConfigError(
            f"{folder} has no 'val' split, by which the best epoch is chosen",
            hint="convert a source with a val/ folder, or one without split folders, which --split divides",
        )
    images = dataset.split(recipe.data.train_split).samples
    if recipe.data.batch_size > images:
        raise ConfigError(f"a batch of {recipe.data.batch_size} is more than the {images} training images")
    if resume:
        run.check(recipe, dataset)

    # ----------------------------------------------------------------------------------------------------- model
    torch.manual_seed(config.seed)
    size, classes = final_size(config.image_sizes, dataset.size), len(dataset.classes)
    saved = load_resume(run.resume, device) if resume else None
    initial = recipe.model
    if saved is not None:  # brings the weights: the file that they once came from need not be there any more
        initial = initial.model_copy(update={"weights": None, "pretrained": False})
    model = create_model(initial, num_classes=classes, size=size, train_sizes=config.image_sizes)
    setting = tuned(recipe, size, device)
    model = place(model, device, setting.channels_last)
    spec = _input_spec(recipe, dataset, model, size)
    augment = create_augment(recipe.augment, spec.size, spec.mean, spec.std).to(device)
    if recipe.model.tokens == "auto":  # becomes a number, for `evaluate` as well
        if resume:
            numbered = run.recipe().model
        else:
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
    train_loader = open_loader(folder, dataset, recipe.data.train_split, train, device, name=recipe.data.loader)
    val_loader = None
    if recipe.data.train_split == "train":
        val = Sampling(recipe.data.eval_batch_size, rank=world.rank, world_size=world.size)
        val_loader = open_loader(folder, dataset, "val", val, device, name=recipe.data.loader)

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
    if saved is not None:
        state.load_state_dict(saved)
        log.info("continuing in epoch %d after step %d", state.epoch + 1, state.steps)
        del saved  # lies on the device
    elif recipe.model.weights is None and not recipe.model.pretrained:
        log.info("%s starts from random weights; --pretrained or --weights gives it timm's", recipe.model.name)
    services: Sequence[Service] = ()
    if world.leads:
        if resume:
            recipe.save(run.config)
        else:
            run.create(recipe, dataset)
        resolved = {"device": str(device), "precision": str(precision), "processes": world.size, **asdict(setting)}
        write_record(run.record, dataset, **resolved)
        services = open_services(recipe, run.root)
    tracker = Tracker(run.metrics, state.epoch, services)
    clock = Clock(config.max_minutes, config.save_minutes, world, device)

    def save() -> None:
        """Write `resume.pt`. Waits for the device; with several processes all of them call this."""
        loss_sum = _finite(state, run, world)
        if world.leads:
            with clock.saving():
                save_resume(run.resume, state.state_dict(loss_sum))

    # ----------------------------------------------------------------------------------------------------- epochs
    stage: Stage | None = None
    with clock.listening(), tracker:
        while state.epoch < config.epochs and not _out_of_patience(state, config.patience):
            before, stage = stage, Stage.of(recipe, state.epoch, dataset.size)
            stage.enter(model, augment)
            if stage != before:
                step = _make_step(state, augment, recipe, setting, precision, dataset, world)
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
                if due := clock.due(number, before_validation=state.steps == steps):
                    state.seconds = perf_counter() - started
                    save()
                    if due == "stop":
                        if world.leads:
                            save_model(state.shown, run.last, spec, dataset.classes)
                        log.info("stopped in epoch %d after step %d of %d", state.epoch + 1, state.steps, steps)
                        if clock.interrupted:
                            raise KeyboardInterrupt
                        return tracker.records
            train_loss = _finite(state, run, world) / steps  # the epoch's one wait for the device
            state.seconds = trained = perf_counter() - started
            scores = None
            if val_loader is not None:
                augment.size = spec.size
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
            record = EpochRecord(
                epoch=state.epoch + 1,
                step=(state.epoch + 1) * steps,
                lr=max(group["lr"] for group in state.optimizer.param_groups),
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
            if state.epoch < config.epochs and clock.due_after_epoch():
                save()
    save()
    return tracker.records


class Stage(NamedTuple):
    """What stays the same over some epochs; where it changes, the step is made, and compiled, anew.

    Attributes:
        frozen: Only the classifier head is trained. None if that is so in no epoch.
        size: Side of the images that the model sees, in pixels.
    """

    frozen: bool | None
    size: int

    @classmethod
    def of(cls, recipe: Recipe, epoch: int, dataset_size: int) -> Stage:
        """The stage of an epoch, counted from 0, on a data set of images of so many pixels a side."""
        config = recipe.training
        frozen = epoch < config.freeze_epochs if config.freeze_epochs else None
        return cls(frozen, image_size_at(epoch, config.epochs, config.image_sizes, dataset_size))

    def enter(self, model: nn.Module, augment: SketchAugment) -> None:
        """Bring both into training mode, in this stage."""
        model.train()
        if self.frozen is not None:
            freeze_backbone(model, self.frozen)
        augment.train()
        augment.size = self.size


def _make_step(
    state: TrainState,
    augment: SketchAugment,
    recipe: Recipe,
    setting: Setting,
    precision: torch.dtype,
    dataset: DatasetMetadata,
    world: World,
) -> TrainStep:
    """A step for the stage that model and augmentation are in, brought into shape on this device."""
    share = world.share(recipe.data.batch_size)
    device = state.loss_sum.device
    step = TrainStep(
        state.model,
        augment,
        state.optimizer,
        state.scaler,
        precision=precision,
        micro_batch=largest_divisor(share, min(share, setting.micro_batch)),
        config=recipe.training,
    )

    def trial() -> tuple[Batch, Draws]:
        draws = augment.draw(recipe.data.batch_size, torch.Generator(device).manual_seed(0))
        return trial_batch(share, dataset.size, len(dataset.classes), device), world.rows(draws)

    if device.type == "cuda":
        fit_in_memory(step, *trial())  # alone: processes that wait for each other cannot run out of memory apart
    step.model = world.wrap(state.model)
    if setting.compile != "eager":
        compile_step(step, augment, *trial(), setting.compile, world)
    return step


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


def _out_of_patience(state: TrainState, patience: int | None) -> bool:
    return patience is not None and state.best_epoch > 0 and state.epoch - state.best_epoch >= patience


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
