"""All that happens to the images: ink, geometry, thickness, erasing, mixing, and paper again.

On a GPU these are plain functions that Inductor fuses (`apply_whole`). On a CPU they are one operator, opaque to
Inductor, that goes through the batch in pieces small enough for the cache. There Inductor would decompose ATen's
vectorised `grid_sample` into scalar loads, three times slower; the sampling grid, twice the size of the batch, never
exists as a whole; and the host, which computes the parameters anyway, can skip what is neither thickened nor mixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastsketch.augment.boxes import inside
from fastsketch.augment.geometry import warp
from fastsketch.augment.mix import mix_images, mix_in_place
from fastsketch.augment.params import AugmentParams
from fastsketch.augment.thickness import Morphology, dilate, dilate_alike, erode, erode_alike
from fastsketch.ink import to_ink

PIECE = 4
"""Images a CPU thread in one piece: at 224 px one thread's share of everything fits a cache of 2 MiB."""


def apply_params(images: Tensor, params: AugmentParams, *, largest: int) -> Tensor:
    """Everything of `params`, in the order of this module's title.

    Args:
        images: uint8 [B, 1, S, S], paper = 255.
        params: On the same device.
        largest: Largest side of a thickness element.

    Returns:
        float32 [B, 1, S, S] in [0, 1], paper = 1.
    """
    if images.device.type == "cpu":
        *unmixed, mix = params  # a slice of a named tuple is beyond torch 2.6's compiler
        blend, box = (None, None) if mix is None else (mix.blend, mix.box)
        paper: Tensor = _apply_in_pieces(images, *unmixed, blend, box)  # whose Python type is Any
        return paper
    return apply_whole(images, params, largest=largest)


def apply_whole(images: Tensor, params: AugmentParams, *, largest: int) -> Tensor:
    """The same for any device, the whole batch at a time: what a GPU runs."""
    ink = warp(to_ink(images), params.sources, params.displacements).clamp_(max=1)
    # A view that Inductor makes only of what is in memory: of all that is computed here the warped ink alone is worth
    # writing, and reading again, rather than computing at each of its uses.
    ink = ink.as_strided(ink.shape, ink.stride())
    if params.thicker is not None:
        ink = dilate(ink, params.thicker, largest)
    if params.thinner is not None:
        ink = erode(ink, params.thinner, largest)
    if params.erased is not None:
        ink = torch.where(inside(params.erased, images.shape[-1]), 0, ink)
    if params.mix is not None:
        ink = mix_images(ink, params.mix)
    return 1 - ink


@torch.library.custom_op(
    "fastsketch::apply_in_pieces",
    mutates_args=(),
    schema="(Tensor images, Tensor sources, Tensor? displacements, Tensor? thicker, Tensor? thinner, Tensor? erased,"
    " Tensor? blend, Tensor? box) -> Tensor",
)
def _apply_in_pieces(
    images: Tensor,
    sources: Tensor,
    displacements: Tensor | None,
    thicker: Tensor | None,
    thinner: Tensor | None,
    erased: Tensor | None,
    blend: Tensor | None,
    box: Tensor | None,
) -> Tensor:
    def alone(rows: slice) -> Tensor:
        moved = None if displacements is None else displacements[rows]
        ink = warp(to_ink(images[rows]), sources[rows], moved).clamp_(max=1)
        if thicker is not None:
            _change_chosen(dilate_alike, ink, thicker[rows])
        if thinner is not None:
            _change_chosen(erode_alike, ink, thinner[rows])
        if erased is not None:
            for image, (left, top, right, bottom) in zip(ink, erased[rows].tolist(), strict=True):
                image[:, top:bottom, left:right] = 0
        return ink

    paper = torch.empty(images.shape)
    piece = PIECE * torch.get_num_threads()
    before = alone(slice(len(images) - 1, None))[0]  # is mixed into the first
    for start in range(0, len(images), piece):
        rows = slice(start, start + piece)
        ink = alone(rows)
        if blend is not None and box is not None:
            before = mix_in_place(ink, before, blend[rows], box[rows])
        torch.sub(1, ink, out=paper[rows])
    return paper


@_apply_in_pieces.register_fake
def _(images: Tensor, *_: Tensor | None) -> Tensor:
    return torch.empty(images.shape, device=images.device)


def _change_chosen(morphology: Morphology, ink: Tensor, sides: Tensor) -> None:
    """Dilate or erode, in place, the samples that have a side above 1: on a CPU the host may look."""
    for row, side in enumerate(sides.tolist()):
        if side > 1:
            ink[row] = morphology(ink[row], side)
