"""What stays the same over some epochs: which weights learn, and the size of the images."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from fastsketch.config import Recipe
from fastsketch.models.freezing import freeze_backbone, freeze_stages, keep_statistics
from fastsketch.training.progressive_resize import image_size_at


class Phase(NamedTuple):
    """What stays the same over some epochs; where it changes, the step is made, and compiled, anew.

    Attributes:
        frozen: Only the classifier head is trained. None if that is so in no epoch.
        size: Side of the images that the model sees, in pixels.
        keeps_statistics: Batch normalisation uses its running statistics throughout.
        frozen_stages: So many of the backbone's first stages stay as they are.
    """

    frozen: bool | None
    size: int
    keeps_statistics: bool = False
    frozen_stages: int = 0

    @classmethod
    def of(cls, recipe: Recipe, epoch: int, dataset_size: int) -> Phase:
        """The phase of an epoch, counted from 0, on a data set of images of so many pixels a side."""
        config = recipe.training
        frozen = epoch < config.freeze_epochs if config.freeze_epochs else None
        size = image_size_at(epoch, config.epochs, config.image_sizes, dataset_size)
        return cls(frozen, size, recipe.model.keeps_statistics, recipe.model.freeze_stages)

    def prepare(self, model: nn.Module) -> None:
        """Bring the model into training mode, in this phase."""
        model.train()
        if self.frozen is not None:
            freeze_backbone(model, self.frozen)
        if self.keeps_statistics:
            keep_statistics(model)
        freeze_stages(model, self.frozen_stages)
