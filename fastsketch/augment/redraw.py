"""All that happens to a sample alone: ink, geometry, thickness, erasing.

On a GPU these are plain functions that Inductor fuses (`redraw_whole`). On a CPU they are one operator, opaque to
Inductor, that goes through the batch in pieces small enough for the cache. There Inductor would decompose ATen's
vectorised `grid_sample` into scalar loads, three times slower; the sampling grid, twice the size of the batch, never
exists as a whole; and the host, which computes the sides of the squares anyway, can skip what is not thickened.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastsketch.augment.boxes import inside
from fastsketch.augment.draws import Draws
from fastsketch.augment.geometry import sample
from fastsketch.augment.thickness import Morphology, dilate, erode

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
        Ink, float32 [B, 1, S, S] in [0, 1] but for the warp's rounding.
    """
    if images.device.type == "cpu":
        # The operator's Python type is Any.
        ink: Tensor = _redraw_in_pieces(
            images, draws.sources, draws.displacements, draws.thicker, draws.thinner, draws.erased
        )
        return ink
    return redraw_whole(images, draws, largest=largest)


def redraw_whole(images: Tensor, draws: Draws, *, largest: int) -> Tensor:
    """The same for any device, the whole batch at a time: what a GPU runs."""
    ink = sample(to_ink(images), draws.sources, draws.displacements)
    if draws.thicker is not None:
        ink = dilate(ink, draws.thicker, largest)
    if draws.thinner is not None:
        ink = erode(ink, draws.thinner, largest)
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
        ink[rows] = sample(to_ink(images[rows]), sources[rows], moved)
    if thicker is not None:
        _change_chosen(dilate, ink, thicker, piece)
    if thinner is not None:
        _change_chosen(erode, ink, thinner, piece)
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


def _change_chosen(morphology: Morphology, ink: Tensor, sides: Tensor, piece: int) -> None:
    """Dilate or erode, in place, the samples that have a side above 1: on a CPU the host may look."""
    chosen = (sides > 1).nonzero().squeeze(1)
    chosen = chosen[sides[chosen].argsort()]
    for start in range(0, len(chosen), piece):
        rows = chosen[start : start + piece]
        ink[rows] = morphology(ink[rows], sides[rows], int(sides[rows[-1]]))
