"""The whole split on the device: 20,000 sketches at 224 px are 1 GB, and a batch is one `index_select`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastsketch.formats.pack import PackSplit
from fastsketch.loaders.base import Batch, epoch_order


class ResidentLoader:
    """Batches of a split that lives on the device; no Python work a sample and no copy from the host.

    Args:
        split: The split, read once.
        batch_size: Samples a batch.
        device: Where the split goes.
        shuffle: Draw a new order every epoch, from `seed` and the epoch's number.
        drop_last: Leave out a ragged last batch (training: shapes stay static) or yield it (evaluation).
    """

    def __init__(
        self,
        split: PackSplit,
        *,
        batch_size: int,
        device: torch.device,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        # torch.tensor copies out of the read-only mapping in one sequential read.
        self._images = torch.tensor(split.images, device=device)
        self._labels = torch.tensor(split.labels, device=device)
        self._order = torch.arange(len(split), device=device)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self.samples = len(split) // batch_size * batch_size if drop_last else len(split)

    def __len__(self) -> int:
        return -(-self.samples // self._batch_size)

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        order = self._order
        if self._shuffle:
            order = epoch_order(len(order), self._seed, number, order.device)
        for indices in torch.split(order[: self.samples], self._batch_size):
            yield Batch(self._images.index_select(0, indices), self._labels.index_select(0, indices), indices)
