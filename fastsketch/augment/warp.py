"""One warp a batch: whatever the geometry is, each pixel is interpolated once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HORIZON = 1e-6
"""Under a perspective, points behind the viewer are taken to lie this far before him: far outside the image."""


def source_matrices(matrices: Tensor, size: int, *, projective: bool = False) -> Tensor:
    """Pixel matrices, source → target, to what `warp` looks its sources up with: target → source, normalised.

    Inverted in closed form: a batched `torch.linalg.inv` waits for the host on a GPU.

    Args:
        matrices: float [B, 3, 3], invertible.
        size: Side of the images in pixels.
        projective: The last rows are not (0, 0, 1), and are kept.

    Returns:
        float [B, 2, 3], or [B, 3, 3] if projective, in grid_sample's coordinates: -1 … 1 over the pixels' centres.
    """
    half = (size - 1) / 2
    # Pixel p and normalised n: p = (n + 1) * half. On the right of the matrices as columns, on the left as rows.
    x, y, shift = matrices.unbind(dim=2)
    first, second, third = torch.stack([x * half, y * half, (x + y) * half + shift], dim=2).unbind(dim=1)
    first, second = first / half - third, second / half - third
    # The rows' cross products are the adjugate's columns.
    columns = [torch.linalg.cross(second, third), torch.linalg.cross(third, first), torch.linalg.cross(first, second)]
    determinant = (first * columns[0]).sum(dim=1)
    inverse = torch.stack(columns, dim=2) / determinant.view(-1, 1, 1)
    return inverse if projective else inverse[:, :2]


def warp(ink: Tensor, sources: Tensor, displacements: Tensor | None = None) -> Tensor:
    """Warp ink, bilinear; what comes in from outside is paper (0).

    Without displacements the same as Kornia's `warp_affine` or `warp_perspective` (zeros, align_corners).

    Args:
        ink: float [B, 1, S, S] in [0, 1].
        sources: From `source_matrices`.
        displacements: float [B, 2, G, G] from `elastic_displacements`, or None; interpolated bicubically over the
            image and added to the source positions.

    Returns:
        float [B, 1, S, S] in [0, 1].
    """
    size = ink.shape[-1]
    axis = torch.linspace(-1, 1, size, dtype=ink.dtype, device=ink.device)
    x, y, shift = sources[..., None, None].unbind(dim=2)
    positions = x * axis + (y * axis.view(-1, 1) + shift)  # [B, 2 or 3, S, S]
    if sources.shape[1] == 3:
        positions = positions[:, :2] / positions[:, 2:].clamp(min=HORIZON)
    if displacements is not None:
        weights = _bicubic_weights(displacements.shape[-1], size, ink)
        positions = positions + weights @ displacements @ weights.mT
    # Planes of x and of y, seen as pairs: grid_sample reads them as fast, and no copy has to put them together.
    warped = F.grid_sample(ink, positions.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=True)
    # The four bilinear weights are rounded, and may sum to a little over 1.
    return warped.clamp(max=1)


def _bicubic_weights(points: int, size: int, like: Tensor) -> Tensor:
    """[size, points]: bicubic interpolation as a matrix; two small products are much faster than F.interpolate."""
    impulses = torch.eye(points, dtype=like.dtype, device=like.device).view(1, points, points, 1)
    return F.interpolate(impulses, size=(size, 1), mode="bicubic", align_corners=True).view(points, size).mT
