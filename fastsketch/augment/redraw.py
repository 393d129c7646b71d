"""All that happens to a sample alone: ink, geometry, thickness, erasing.

On a GPU these are plain functions that Inductor fuses. On a CPU they are one operator, opaque to Inductor, that goes
through the batch in pieces small enough for the cache, for reasons that `benchmarks/augment.py` measures: Inductor
would decompose ATen's vectorised `grid_sample` into scalar loads, three times slower; the sampling grid, twice the size
of the batch, never exists as a whole; and the host, which has to compute them anyway, can skip what is not thickened.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastsketch.augment.boxes import inside
from fastsketch.augment.draws import Draws
from fastsketch.augment.thickness import dilate, dilate_each, erode, erode_each
from fastsketch.augment.warp import warp

PIECE = 4
"""Images a CPU thread in one piece: at 224 px one thread's share of everything fits a cache of 2 MiB."""


def to_ink(images: Tensor) -> Tensor:
    """uint8, paper = 255 → float32 ink in [0, 1], ink = 1; of any shape."""
    return (255 - images) / 255  # the subtraction in uint8; the division makes it float32


def redraw(images: Tensor, draws: Draws, *, largest: int) -> Tensor:
    """Everything of `draws` but the mixing.

    Args:
        images: uint8 [B, 1, S, S], paper = 255.
        draws: On the same device.
        largest: Largest side of a thickness element.

    Returns:
        Ink, float32 [B, 1, S, S] in [0, 1].
    """
    if images.device.type == "cpu":
        # The operator's Python type is Any.
        ink: Tensor = _redraw_in_pieces(
            images, draws.sources, draws.displacements, draws.thicker, draws.thinner, draws.erased
        )
        return ink
    ink = warp(to_ink(images), draws.sources, draws.displacements)
    if draws.thicker is not None:
        ink = dilate_each(ink, draws.thicker, largest)
    if draws.thinner is not None:
        ink = erode_each(ink, draws.thinner, largest)
    if draws.erased is not None:
        ink = torch.where(inside(draws.erased, images.shape[-1]), 0, ink)
    return ink


@torch.library.custom_op(
    "fastsketch::redraw_in_pieces",
    mutates_args=(),
    schema="(Tensor images, Tensor sources, Tensor? displacements, Tensor? thicker, Tensor? thinner, Tensor? erased)"
    " -> Tensor",
)
def _redraw_in_pieces(
    images: Tensor,
    sources: Tensor,
    displacements: Tensor | None,
    thicker: Tensor | None,
    thinner: Tensor | None,
    erased: Tensor | None,
) -> Tensor:
    ink = torch.empty(images.shape)
    piece = PIECE * torch.get_num_threads()
    for start in range(0, len(images), piece):
        rows = slice(start, start + piece)
        moved = None if displacements is None else displacements[rows]
        ink[rows] = warp(to_ink(images[rows]), sources[rows], moved)
    for sides, change in ((thicker, dilate), (thinner, erode)):
        for index, side in enumerate([] if sides is None else sides.tolist()):
            if side > 1:
                ink[index] = change(ink[index : index + 1], side)[0]
    for index, (left, top, right, bottom) in enumerate([] if erased is None else erased.tolist()):
        ink[index, :, top:bottom, left:right] = 0
    return ink


@_redraw_in_pieces.register_fake
def _(
    images: Tensor,
    sources: Tensor,
    displacements: Tensor | None,
    thicker: Tensor | None,
    thinner: Tensor | None,
    erased: Tensor | None,
) -> Tensor:
    return torch.empty(images.shape, device=images.device)
