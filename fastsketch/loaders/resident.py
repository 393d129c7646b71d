"""The whole split on the device: 20,000 sketches at 224 px are 1 GB, and a batch is one `index_select`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fastsketch.formats.pack import JoinedSplit, PackSplit
from fastsketch.loaders.base import Batch, Sampling


class ResidentLoader:
    """Batches of a split that lives on the device; no Python work a sample and no copy from the host.

    Args:
        split: The split, or several joined, read once and in order.
        sampling: Order and batches.
        device: Where the split goes.
        verify: Compare the pixels with their checksums on the way.

    Raises:
        DataError: A checksum differs.
    """

    def __init__(
        self, split: PackSplit | JoinedSplit, sampling: Sampling, device: torch.device, *, verify: bool = True
    ) -> None:
        total = len(split)
        images = torch.empty((total, *split.image_shape), dtype=torch.uint8)
        for part, rows in zip(split.parts, torch.split(images, [len(part) for part in split.parts]), strict=True):
            part.read(rows.numpy(), verify=verify)
        self.verified = frozenset(name for part in split.parts for name in part.image_names if verify)
        self._images, self._labels = images.to(device), torch.from_numpy(split.labels).to(device)
        self._sampling = sampling
        self.samples = sampling.samples(total)

    def __len__(self) -> int:
        return self._sampling.batches(len(self._labels))

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        order = self._sampling.indices(len(self._labels), number, self._labels.device)
        for indices in self._sampling.cut(order, skip=skip):
            yield Batch(self._images.index_select(0, indices), self._labels.index_select(0, indices), indices)
