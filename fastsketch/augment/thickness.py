"""Line thickness: dilation and erosion with flat squares, of another size for every sample.

A k × k square is a (k - 1) × (k - 1) one followed by a 2 × 2 one, so that growing the squares step by step passes
through every size, and a sample stops at its own. The memory is that of one step, whereas `kornia.morphology` holds k²
copies of the batch where it unfolds, and computes one size for all.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dilate(ink: Tensor, side: int) -> Tensor:
    """Bit for bit `kornia.morphology.dilation(ink, ones(side, side))`: float [B, 1, S, S] → the same shape."""
    for step in range(2, side + 1):
        ink = _grow(ink, step)
    return ink


def erode(ink: Tensor, side: int) -> Tensor:
    """Bit for bit `kornia.morphology.erosion(ink, ones(side, side))`: float [B, 1, S, S] → the same shape."""
    for step in range(2, side + 1):
        ink = _shrink(ink, step)
    return ink


def dilate_each(ink: Tensor, sides: Tensor, largest: int) -> Tensor:
    """Dilate each sample with its own square, without the host knowing which.

    Args:
        ink: float [B, 1, S, S].
        sides: int [B]; 1 or less leaves a sample as it is.
        largest: No side is larger.
    """
    for step in range(2, largest + 1):
        ink = torch.where((sides >= step).view(-1, 1, 1, 1), _grow(ink, step), ink)
    return ink


def erode_each(ink: Tensor, sides: Tensor, largest: int) -> Tensor:
    """Erode each sample with its own square; as `dilate_each`."""
    for step in range(2, largest + 1):
        ink = torch.where((sides >= step).view(-1, 1, 1, 1), _shrink(ink, step), ink)
    return ink


def _grow(ink: Tensor, side: int) -> Tensor:
    """From the maximum over squares of side - 1 to that over squares of `side`.

    A square of even side has its origin at side // 2, right of its middle: Kornia's squares, which a dilation mirrors,
    grow to the right and downwards at even steps, and back at odd ones.
    """
    for dim in (3, 2):
        pairs = torch.maximum(ink.narrow(dim, 0, ink.shape[dim] - 1), ink.narrow(dim, 1, ink.shape[dim] - 1))
        ink = _with_edge(pairs, ink, dim, last=side % 2 == 0)
    return ink


def _shrink(ink: Tensor, side: int) -> Tensor:
    """The same for the minimum; an erosion does not mirror the square, so that it grows the other way."""
    for dim in (3, 2):
        pairs = torch.minimum(ink.narrow(dim, 0, ink.shape[dim] - 1), ink.narrow(dim, 1, ink.shape[dim] - 1))
        ink = _with_edge(pairs, ink, dim, last=side % 2 == 1)
    return ink


def _with_edge(pairs: Tensor, ink: Tensor, dim: int, *, last: bool) -> Tensor:
    """Complete the neighbours' maxima with the edge that has no neighbour: outside the image there is nothing."""
    if last:
        return torch.cat([pairs, ink.narrow(dim, ink.shape[dim] - 1, 1)], dim=dim)
    return torch.cat([ink.narrow(dim, 0, 1), pairs], dim=dim)
