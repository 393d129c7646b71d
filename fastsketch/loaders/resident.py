"""The whole split on the device: 20,000 sketches at 224 px are 1 GB, and a batch is one `index_select`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastsketch.formats.pack import PackSplit
from fastsketch.loaders.base import Batch, Sampling


class ResidentLoader:
    """Batches of a split that lives on the device; no Python work a sample and no copy from the host.

    Args:
        split: The split, read once.
        sampling: Order and batches.
        device: Where the split goes.
    """

    def __init__(self, split: PackSplit, sampling: Sampling, device: torch.device) -> None:
        # torch.tensor copies out of the read-only mapping in one sequential read.
        self._images = torch.tensor(split.images, device=device)
        self._labels = torch.tensor(split.labels, device=device)
        self._sampling = sampling
        self.samples = sampling.samples(len(split))

    def __len__(self) -> int:
        return self._sampling.batches(len(self._labels))

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        size = self._sampling.batch_size
        order = self._sampling.indices(len(self._labels), number, self._labels.device)
        for indices in torch.split(order[skip * size :], size):
            yield Batch(self._images.index_select(0, indices), self._labels.index_select(0, indices), indices)
