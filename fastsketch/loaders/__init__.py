"""Loaders: data sets → batches on the device."""

from __future__ import annotations

from fastsketch.loaders.base import Batch, Loader
from fastsketch.loaders.resident import ResidentLoader

__all__ = ["Batch", "Loader", "ResidentLoader"]
