"""The training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import perf_counter

import torch
from torch import nn

from fastsketch.augment import create_augment, mixed_cross_entropy
from fastsketch.config import AugmentConfig, Recipe
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Sampling, open_loader
from fastsketch.loaders.base import derived_seed
from fastsketch.models.zoo import create_model, place, pretrained_normalization
from fastsketch.training.checkpoint import InputSpec, load_resume, save_model, save_resume
from fastsketch.training.optim import create_optimizer, create_schedule
from fastsketch.training.run import Run
from fastsketch.training.tracking import EpochRecord, Tracker
from fastsketch.training.validation import accuracy_metrics, validate

log = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    on_step: Callable[[int, int, int], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> list[EpochRecord]:
    """Train a model as `recipe` says and leave everything in `run`.

    After every epoch `last/`, `resume.pt` and the metrics are saved, and `best/` if validation top-1 improved. An
    interrupt (Ctrl-C) saves the weights of that moment in `last/` and is raised again; `resume` then repeats the
    epoch that it broke off, bit for bit as it would have been on the same machine.

    Args:
        recipe: The configuration; `data.path` says where the data set is.
        run: The run directory, new unless `resume`.
        resume: Continue the run from its last whole epoch.
        on_step: Called after every step with the epoch (from 1), the steps done in it, and its steps.
        on_epoch: Called with each epoch's record.

    Returns:
        All records, those of before a resume included.

    Raises:
        ConfigError: The recipe does not fit the data set or the machine.
        DataError: The data set or the run is damaged.
        FastSketchError: The loss is no longer finite.
    """
    # ------------------------------------------------------------------------------------------------------ data
    device = resolve_device(recipe.training.device)
    if recipe.data.path is None:
        raise ConfigError("no data set given", hint="set data.path")
    dataset = DatasetMetadata.load(recipe.data.path)
    seed, batch_size = recipe.training.seed, recipe.data.batch_size
    if batch_size > dataset.split("train").samples:
        raise ConfigError(f"a batch of {batch_size} is more than the {dataset.split('train').samples} training images")

    # ----------------------------------------------------------------------------------------------------- model
    torch.manual_seed(seed)
    model = create_model(recipe.model, num_classes=len(dataset.classes), size=dataset.size)
    model = place(model, device)
    spec = _input_spec(recipe.augment, dataset, model)
    augment = create_augment(recipe.augment, spec.size, spec.mean, spec.std).to(device)
    metrics = accuracy_metrics(len(dataset.classes)).to(device)

    # --------------------------------------------------------------------------------------------------- loaders
    train_loader, val_loader = (
        open_loader(recipe.data.path, dataset, split, sampling, device, name=recipe.data.loader)
        for split, sampling in (
            ("train", Sampling(batch_size, shuffle=True, seed=seed, drop_last=True)),
            ("val", Sampling(recipe.data.eval_batch_size)),
        )
    )

    # ---------------------------------------------------------------------------------------------- optimisation
    steps, epochs = len(train_loader), recipe.training.epochs
    optimizer = create_optimizer(model, recipe.optimizer)
    schedule = create_schedule(optimizer, recipe.schedule, epochs=epochs, steps_per_epoch=steps)
    generator = torch.Generator(device)

    # -------------------------------------------------------------------------------------------- start or resume
    epochs_done, best_top1 = 0, -1.0
    if not resume:
        run.create(recipe, dataset)
    elif not run.holds(dataset):
        raise ConfigError(f"{recipe.data.path} has other classes than the data set that {run.root} was trained on")
    elif run.resume.is_file():
        state = load_resume(run.resume, device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        epochs_done, best_top1 = state["epochs_done"], state["best_top1"]
        log.info("resuming after epoch %d", epochs_done)
    tracker = Tracker(run.metrics, epochs_done)

    # ----------------------------------------------------------------------------------------------------- epochs
    try:
        for epoch in range(epochs_done, epochs):
            # Everything random in an epoch follows from the seed and its number, so that a resumed run repeats it.
            torch.manual_seed(derived_seed(seed, epoch))
            generator.manual_seed(derived_seed(seed, ~epoch))
            model.train()
            augment.train()
            loss_sum = torch.zeros((), device=device)
            started = perf_counter()
            for step, batch in enumerate(train_loader.epoch(epoch)):
                schedule.step_update(epoch * steps + step)
                images, targets = augment(batch.images, batch.labels, augment.draw(batch_size, generator))
                loss = mixed_cross_entropy(model(images), targets, recipe.training.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                loss_sum += loss.detach()
                if on_step:
                    on_step(epoch + 1, step + 1, steps)
            train_loss = float(loss_sum) / steps  # the epoch's one wait for the device
            trained = perf_counter()
            if not math.isfinite(train_loss):
                raise FastSketchError(
                    f"the training loss became {train_loss} in epoch {epoch + 1}",
                    hint=f"try a smaller optimizer.lr; {run.last} holds the epoch before",
                )
            scores = validate(model, augment, val_loader, metrics)
            record = EpochRecord(
                epoch=epoch + 1,
                lr=optimizer.param_groups[0]["lr"],
                train_loss=train_loss,
                val_loss=scores.loss,
                val_top1=scores.top1,
                val_top5=scores.top5,
                seconds=perf_counter() - started,
                images_per_second=train_loader.samples / (trained - started),
            )
            save_model(model, run.last, spec, dataset.classes)
            if scores.top1 > best_top1:
                best_top1 = scores.top1
                save_model(model, run.best, spec, dataset.classes)
            tracker.add(record)
            save_resume(
                run.resume,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "epochs_done": epoch + 1,
                    "best_top1": best_top1,
                },
            )
            if on_epoch:
                on_epoch(record)
    except KeyboardInterrupt:
        save_model(model, run.last, spec, dataset.classes)
        raise
    return tracker.records


def _input_spec(config: AugmentConfig, dataset: DatasetMetadata, model: nn.Module) -> InputSpec:
    """The normalisation that the recipe asks for."""
    match config.normalize:
        case "unit":
            mean, std = 0.0, 1.0
        case "standard":
            train = dataset.split("train")
            mean, std = train.pixel_mean, train.pixel_std
        case "pretrained":
            mean, std = pretrained_normalization(model)
    return InputSpec(dataset.size, mean, std)
