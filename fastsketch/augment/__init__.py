"""Augmentation on the device, a whole batch at a time."""

from __future__ import annotations

from fastsketch.augment.pipeline import SketchAugment

__all__ = ["SketchAugment"]
