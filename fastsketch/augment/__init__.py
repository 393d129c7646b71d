"""Augmentation on the device, a whole batch at a time."""

from __future__ import annotations

from fastsketch.augment.mix import Targets, mixed_cross_entropy
from fastsketch.augment.pipeline import SketchAugment
from fastsketch.config import AugmentConfig

__all__ = ["SketchAugment", "Targets", "create_augment", "mixed_cross_entropy"]


def create_augment(config: AugmentConfig, size: int, mean: float = 0.0, std: float = 1.0) -> SketchAugment:
    """The augmentation of the engine that `config` names; arguments as `SketchAugment`'s."""
    if config.engine == "kornia":
        from fastsketch.augment.stock import StockAugment  # kornia.augmentation takes a second to import

        return StockAugment(config, size, mean, std)
    return SketchAugment(config, size, mean, std)
