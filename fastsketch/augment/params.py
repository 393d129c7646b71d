"""Everything random about a batch, drawn on the device in one call and turned into parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastsketch.augment import geometry
from fastsketch.augment.boxes import ERASING_UNIFORMS, erasing_boxes
from fastsketch.augment.mix import MIX_UNIFORMS, Mix, sample_mix
from fastsketch.config import AugmentConfig

THICKNESS_UNIFORMS = 3
"""Random numbers of one sample's thickness: whether, the side, thinner or thicker."""


class AugmentParams(NamedTuple):
    """The random parameters of one batch; None for what the configuration does not ask for.

    Attributes:
        sources: float32 [B, 2, 3], or [B, 3, 3] with perspective: the geometry, from `source_matrices`.
        displacements: float32 [B, 2, G, G], elastic displacement of a coarse grid.
        thicker: int64 [B], side of the square that dilates; 1 for none.
        thinner: int64 [B], side of the square that erodes; 1 for none.
        erased: int64 [B, 4], box that is erased; empty for none.
        mix: How each image is mixed with its partner.
    """

    sources: Tensor
    displacements: Tensor | None = None
    thicker: Tensor | None = None
    thinner: Tensor | None = None
    erased: Tensor | None = None
    mix: Mix | None = None


def sample_params(
    config: AugmentConfig, size: int, batch_size: int, generator: torch.Generator, quantiles: tuple[Tensor, Tensor]
) -> AugmentParams:
    """Draw one batch's parameters on the generator's device, without waiting for the host.

    Args:
        config: Ranges and probabilities.
        size: Side of the images in pixels.
        batch_size: B.
        generator: All random numbers come from it.
        quantiles: `beta_quantiles` of `mixup` and `cutmix`, on the generator's device.
    """
    counts = {
        "affine": geometry.UNIFORMS,
        "perspective": geometry.PERSPECTIVE_UNIFORMS if config.perspective else 0,
        "elastic": geometry.ELASTIC_UNIFORMS if config.elastic else 0,
        "thickness": THICKNESS_UNIFORMS if config.thickness else 0,
        "erasing": ERASING_UNIFORMS if config.erasing else 0,
        "mix": MIX_UNIFORMS if config.mixes else 0,
    }
    uniforms = torch.rand(batch_size, sum(counts.values()), generator=generator, device=generator.device)
    part = dict(zip(counts, torch.split(uniforms, list(counts.values()), dim=1), strict=True))

    matrices = geometry.affine_matrices(part["affine"], config, size)
    displacements = thicker = thinner = erased = mix = None
    if config.perspective:
        matrices = geometry.perspective_matrices(part["perspective"], config.perspective, size) @ matrices
    if config.elastic:
        displacements = geometry.elastic_displacements(part["elastic"], config.elastic)
    if config.thickness:
        thicker, thinner = _thickness_sides(part["thickness"], config)
    if config.erasing:
        erased = erasing_boxes(part["erasing"], config.erasing, config.erasing_area, size)
    if config.mixes:
        mix = sample_mix(part["mix"], config, quantiles, size)
    sources = geometry.source_matrices(matrices, size, projective=config.perspective > 0)
    return AugmentParams(sources, displacements, thicker, thinner, erased, mix)


def _thickness_sides(uniforms: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor | None]:
    """Sides of the squares that dilate and, if there is any thinning, of those that erode."""
    chosen, side, thinner = uniforms.unbind(dim=1)
    smallest, largest = config.thickness_range
    sides = (smallest + side * (largest - smallest + 1)).long().clamp(max=largest)
    sides = torch.where(chosen < config.thickness, sides, 1)
    if not config.thinning:
        return sides, None
    thins = thinner < config.thinning
    return torch.where(thins, 1, sides), torch.where(thins, sides, 1)
