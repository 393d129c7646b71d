"""What every loader gives: whole batches of uint8, already on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch on the device, valid until the next one is asked for.

    Some loaders hand out their own buffers and fill them again later: what must live longer has to be cloned. Nothing
    in training needs to, and a copy of every batch would cost as much as reading it.

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
        """Samples that one epoch yields, on this process's rank."""
        ...

    @property
    def verified(self) -> frozenset[str]:
        """Names of the large files that were compared with their checksums, whole, on opening."""
        ...

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; its number seeds the shuffling.

        Args:
            number: The epoch, from 0.
            skip: Batches to leave out at the beginning: those that a run had done when it was broken off. Exactly
                those after the `skip`-th are yielded; none if it is all of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which samples of a split make up an epoch, and in which batches; the same for all loaders.

    Attributes:
        batch_size: Samples a batch.
        shuffle: Draw a new order every epoch, from `seed` and the epoch's number.
        seed: Seed of the order.
        drop_last: Training: leave out the ragged last batch (shapes stay static), and with several processes the
            few samples more that some would have. Evaluation keeps all.
        rank: This process, of `world_size` that share the split: their samples are disjoint.
        world_size: Processes.
    """

    batch_size: int
    shuffle: bool = False
    seed: int = 0
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1

    def samples(self, total: int) -> int:
        """Samples an epoch on this rank, of a split of `total`."""
        if self.drop_last:
            return total // self.world_size // self.batch_size * self.batch_size
        return len(range(self.rank, total, self.world_size))

    def batches(self, total: int) -> int:
        """Batches an epoch on this rank, of a split of `total`."""
        return math.ceil(self.samples(total) / self.batch_size)

    def indices(self, total: int, epoch: int, device: torch.device) -> Tensor:
        """The positions int64 [samples] of one epoch in order, drawn on `device`."""
        seed = self.seed
        order = epoch_order(total, seed, epoch, device) if self.shuffle else torch.arange(total, device=device)
        return order[self.rank :: self.world_size][: self.samples(total)].contiguous()

    def cut(self, order: Tensor, *, skip: int = 0) -> Iterator[Tensor]:
        """An epoch's positions int64 [samples] in batches, from the `skip`-th on; none if `skip` is all of them."""
        for start in range(skip * self.batch_size, len(order), self.batch_size):  # torch.split makes one of nothing
            yield order[start : start + self.batch_size]


def derived_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch of a run, far from those of its neighbours (so that generators do not correlate)."""
    return (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + 1) % (1 << 63)


def epoch_order(samples: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A permutation int64 [samples], drawn on `device`."""
    generator = torch.Generator(device).manual_seed(derived_seed(seed, epoch))
    return torch.randperm(samples, generator=generator, device=device)
