"""Loaders: data sets → batches on the device."""

from __future__ import annotations

from fastsketch.loaders.base import Batch, Loader, Sampling
from fastsketch.loaders.choose import open_loader

__all__ = ["Batch", "Loader", "Sampling", "open_loader"]
