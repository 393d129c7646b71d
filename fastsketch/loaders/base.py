"""What every loader gives: whole batches of uint8, already on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch on the device.

    Attributes:
        images: uint8 [B, 1, S, S], paper = 255.
        labels: int64 [B].
        indices: int64 [B], each sample's position in its split.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader(Protocol):
    """One split in batches. The order of an epoch is a function of the seed and the epoch's number alone."""

    @property
    def samples(self) -> int:
        """Samples that one epoch yields."""
        ...

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; its number seeds the shuffling."""
        ...


def derived_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch of a run, far from those of its neighbours (so that generators do not correlate)."""
    return (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + 1) % (1 << 63)


def epoch_order(samples: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A permutation int64 [samples], drawn on `device`."""
    generator = torch.Generator(device).manual_seed(derived_seed(seed, epoch))
    return torch.randperm(samples, generator=generator, device=device)
