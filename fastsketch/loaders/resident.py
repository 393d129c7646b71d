"""The whole split on the device: 20,000 sketches at 224 px are 1 GB, and a batch is one `index_select`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastsketch.formats.pack import JoinedSplit, PackSplit
from fastsketch.loaders.base import Batch, Sampling

BLOCK = 1024
"""Samples that are read at a time: those of joined splits are copied twice, and the copies need memory."""


class ResidentLoader:
    """Batches of a split that lives on the device; no Python work a sample and no copy from the host.

    Args:
        split: The split, or several joined, read once and in order.
        sampling: Order and batches.
        device: Where the split goes.
    """

    def __init__(self, split: PackSplit | JoinedSplit, sampling: Sampling, device: torch.device) -> None:
        total = len(split)
        images = torch.empty((total, *split.image_shape), dtype=torch.uint8)
        labels = torch.empty(total, dtype=torch.int64)
        for block in zip(*(torch.split(rows, BLOCK) for rows in (torch.arange(total), images, labels)), strict=True):
            split.take(*(rows.numpy() for rows in block))
        self._images, self._labels = images.to(device), labels.to(device)
        self._sampling = sampling
        self.samples = sampling.samples(total)

    def __len__(self) -> int:
        return self._sampling.batches(len(self._labels))

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        order = self._sampling.indices(len(self._labels), number, self._labels.device)
        for indices in self._sampling.cut(order, skip=skip):
            yield Batch(self._images.index_select(0, indices), self._labels.index_select(0, indices), indices)
