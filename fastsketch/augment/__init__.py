"""Augmentation on the device, a whole batch at a time."""

from __future__ import annotations

from fastsketch.augment.mix import Targets
from fastsketch.augment.pipeline import SketchAugment
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess

__all__ = ["SketchAugment", "Targets", "create_augment"]


def create_augment(config: AugmentConfig, preprocess: Preprocess) -> SketchAugment:
    """The augmentation of the engine that `config` names; arguments as `SketchAugment`'s."""
    if config.engine == "kornia":
        from fastsketch.augment.kornia_pipeline import KorniaAugment  # kornia.augmentation takes a second to import

        return KorniaAugment(config, preprocess)
    return SketchAugment(config, preprocess)
