"""What stays the same over some epochs: the stage, and the step that is made for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from fastsketch.augment import SketchAugment
from fastsketch.augment.draws import Draws
from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Batch
from fastsketch.models import freeze_backbone
from fastsketch.training.compilation import compile_step, fit_in_memory, largest_divisor, trial_batch
from fastsketch.training.distributed import World
from fastsketch.training.sizes import image_size_at
from fastsketch.training.state import TrainState
from fastsketch.training.step import TrainStep
from fastsketch.training.tuning import Setting


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


def make_step(
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
