"""Affine and flip: one 3 × 3 matrix a sample, one warp a batch.

The matrices are Kornia's (`kornia.geometry.transform.get_affine_matrix2d`). What is left out is Kornia's wrapper, whose
orchestration costs more than the warp itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_affine_matrix2d
from torch import Tensor

from fastsketch.config import AugmentConfig

UNIFORMS = 7
"""Random numbers that a sample's geometry takes: angle, shift in x and y, scale, shear in x and y, flip."""


def affine_matrices(uniforms: Tensor, config: AugmentConfig, size: int) -> Tensor:
    """Random numbers → the pixel matrices that move a source point to its place in the augmented image.

    Args:
        uniforms: float [B, UNIFORMS], uniform in [0, 1).
        config: Ranges; each parameter is uniform within its own.
        size: Side of the images in pixels; rotation, scale and shear are about their centre.

    Returns:
        float [B, 3, 3]. A positive angle turns clockwise as displayed, a flip mirrors left and right and comes first.
    """
    signed = uniforms * 2 - 1
    smallest, largest = config.scale
    scale = smallest + uniforms[:, 3:4] * (largest - smallest)
    centre = torch.full_like(uniforms[:, :2], (size - 1) / 2)
    matrices: Tensor = get_affine_matrix2d(
        translations=signed[:, 1:3] * (config.translation * size),
        center=centre,
        scale=scale.expand(-1, 2),
        angle=signed[:, 0] * config.rotation,
        sx=signed[:, 4] * math.radians(config.shear),
        sy=signed[:, 5] * math.radians(config.shear),
    )
    # Mirroring about the centre, x → (size - 1) - x, on the right of the product: it acts before all else. As a
    # product it would be one more batched matmul; as columns it is two multiplications.
    mirror = (uniforms[:, 6:7] < config.flip).to(uniforms.dtype)
    x, y, shift = matrices.unbind(dim=2)
    return torch.stack([x * (1 - 2 * mirror), y, shift + x * (mirror * (size - 1))], dim=2)


def warp(ink: Tensor, matrices: Tensor) -> Tensor:
    """Warp ink [B, 1, S, S] by pixel matrices [B, 3, 3], bilinear; what comes in from outside is paper (0).

    The same as `kornia.geometry.transform.warp_affine(ink, matrices[:, :2], (S, S), align_corners=True)`, with the
    2 × 2 part inverted in closed form: a batched `torch.linalg.inv` waits for the host on a GPU.
    """
    size = ink.shape[-1]
    linear, shift = matrices[:, :2, :2], matrices[:, :2, 2]
    (a, b), (c, d) = (row.unbind(dim=1) for row in linear.unbind(dim=1))
    determinant = a * d - b * c
    inverse = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / determinant.view(-1, 1, 1)
    # Pixel p and normalised coordinate n (align_corners): p = (n + 1) * half. Hence, for both images square,
    # n_source = inverse @ n_target + (inverse @ (half - shift) - half) / half.
    half = (size - 1) / 2
    offset = (inverse @ (half - shift).unsqueeze(2)).squeeze(2) / half - 1
    theta = torch.cat([inverse, offset.unsqueeze(2)], dim=2)
    grid = F.affine_grid(theta, list(ink.shape), align_corners=True)
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
