"""Line thickness: dilation and erosion with flat squares, of another size for every sample.

A k × k square is a (k - 1) × (k - 1) one followed by a 2 × 2 one, so that growing the squares step by step passes
through every size. The memory is that of one step, whereas `kornia.morphology` holds k² copies of the batch where it
unfolds, and takes one size for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Morphology = Callable[[Tensor, int], Tensor]
"""`dilate_alike` or `erode_alike`."""


def dilate(ink: Tensor, sides: Tensor, largest: int) -> Tensor:
    """Dilate each sample with its own square: bit for bit `kornia.morphology.dilation(sample, ones(side, side))`.

    Args:
        ink: float [B, 1, S, S] in [0, 1].
        sides: int [B]; 1 or less leaves a sample as it is. The host need not know them.
        largest: No side is larger.
    """
    # Kornia's origin is at side // 2; its dilation mirrors the square, its erosion does not.
    before = (largest - 1) // 2
    for side, grown in _squares(torch.maximum, F.pad(ink, (before, largest // 2) * 2), largest):
        ink = _select(ink, grown, sides == side, before - (side - 1) // 2)
    return ink


def erode(ink: Tensor, sides: Tensor, largest: int) -> Tensor:
    """Erode each sample with its own square: bit for bit `kornia.morphology.erosion`; else as `dilate`."""
    before = largest // 2
    for side, shrunk in _squares(torch.minimum, F.pad(ink, (before, (largest - 1) // 2) * 2, value=1), largest):
        ink = _select(ink, shrunk, sides == side, before - side // 2)
    return ink


def dilate_alike(ink: Tensor, side: int) -> Tensor:
    """Dilate all samples with the same square, of a side from 2 that the host knows: half the time of `dilate`."""
    *_, (_, grown) = _squares(torch.maximum, F.pad(ink, ((side - 1) // 2, side // 2) * 2), side)
    return grown


def erode_alike(ink: Tensor, side: int) -> Tensor:
    """Erode all samples with the same square, of a side from 2 that the host knows."""
    *_, (_, shrunk) = _squares(torch.minimum, F.pad(ink, (side // 2, (side - 1) // 2) * 2, value=1), side)
    return shrunk


def _squares(reduce: Callable[[Tensor, Tensor], Tensor], padded: Tensor, largest: int) -> Iterator[tuple[int, Tensor]]:
    """Reduce over all squares of side 2, 3, … largest; each result is smaller by side - 1 than `padded`."""
    for side in range(2, largest + 1):
        padded = reduce(padded[..., 1:], padded[..., :-1])
        padded = reduce(padded[..., 1:, :], padded[..., :-1, :])
        yield side, padded


def _select(ink: Tensor, changed: Tensor, chosen: Tensor, offset: int) -> Tensor:
    """The chosen samples from `changed`, where the image begins at `offset`, and the others as they are."""
    size = ink.shape[-1]
    changed = changed[..., offset : offset + size, offset : offset + size]
    return torch.where(chosen.view(-1, 1, 1, 1), changed, ink)
