"""Geometry: one 3 × 3 matrix a sample, plus a coarse displacement for the elastic one, and one warp a batch.

The affine matrices are those of Kornia's `get_affine_matrix2d`, written out: its products of matrices are four times as
many kernels, and one of its releases waits for the host at each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fastsketch.config import AugmentConfig

UNIFORMS = 7
"""Random numbers of one affine matrix: angle, shift in x and y, scale, shear in x and y, flip."""

PERSPECTIVE_UNIFORMS = 8
"""Random numbers of one perspective: x and y of four corners."""

ELASTIC_GRID = 3
"""Control points of the elastic displacement in each direction, as in U-Net."""

ELASTIC_UNIFORMS = 2 * ELASTIC_GRID**2
"""Random numbers of one elastic displacement: x and y of every control point."""

MOST_DEVIATIONS = 3.0
"""A control point moves by no more standard deviations than these: the normal distribution has no end, an image has."""

HORIZON = 1e-6
"""Under a perspective, points behind the viewer are taken to lie this far before him: far outside the image."""


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
    scale = smallest + uniforms[:, 3] * (largest - smallest)
    angle = signed[:, 0] * math.radians(config.rotation)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shear_x, shear_y = (signed[:, 4:6] * math.radians(config.shear)).tan().unbind(dim=1)
    # Rotation and scale after a shear in x, then y: [[cos, -sin], [sin, cos]] · [[1, -shear_x], [-shear_y, 1 + shear_x
    # shear_y]], whose second column is (0, 1) less shear_x times the first.
    first_x, first_y = cos + sin * shear_y, sin - cos * shear_y
    second_x, second_y = -sin - first_x * shear_x, cos - first_y * shear_x
    mirror = 1 - 2 * (uniforms[:, 6] < config.flip).to(uniforms.dtype)
    first_x, first_y = mirror * first_x, mirror * first_y
    # All of it about the centre: point → centre + shift + matrix · (point - centre).
    centre = (size - 1) / 2
    shift_x, shift_y = (centre + signed[:, 1:3] * (config.translation * size)).unbind(dim=1)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    numbers = [
        *(first_x, second_x, shift_x - (first_x + second_x) * centre),
        *(first_y, second_y, shift_y - (first_y + second_y) * centre),
        *(zero, zero, one),
    ]
    return torch.stack(numbers, dim=1).view(-1, 3, 3)


def perspective_matrices(uniforms: Tensor, distortion: float, size: int) -> Tensor:
    """Random numbers → pixel matrices that move each corner inwards, as Kornia's and torchvision's RandomPerspective.

    The closed form for a square and a quadrilateral (Heckbert, Fundamentals of Texture Mapping and Image Warping,
    1989, section 2.2.3); a linear system solved on a GPU would wait for the host.

    Args:
        uniforms: float [B, PERSPECTIVE_UNIFORMS], uniform in [0, 1).
        distortion: Largest shift of a corner as a share of half the side, below 1, so that the corners stay convex.
        size: Side of the images in pixels.

    Returns:
        float [B, 3, 3], with 1 in the lower right.
    """
    side = size - 1
    shift = uniforms * (distortion * side / 2)
    # Corners clockwise from the upper left, each moved towards the centre.
    x0, y0 = shift[:, 0], shift[:, 1]
    x1, y1 = side - shift[:, 2], shift[:, 3]
    x2, y2 = side - shift[:, 4], side - shift[:, 5]
    x3, y3 = shift[:, 6], side - shift[:, 7]
    ax, ay, bx, by = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    determinant = ax * by - ay * bx
    g = (sx * by - sy * bx) / determinant
    h = (ax * sy - ay * sx) / determinant
    rows = [
        torch.stack([x1 - x0 + g * x1, x3 - x0 + h * x3, x0 * side], dim=1),
        torch.stack([y1 - y0 + g * y1, y3 - y0 + h * y3, y0 * side], dim=1),
        torch.stack([g, h, torch.full_like(g, side)], dim=1),
    ]
    return torch.stack(rows, dim=1) / side


def elastic_displacements(uniforms: Tensor, deviation: float) -> Tensor:
    """Random numbers → normal displacements of a coarse grid (Ronneberger et al., U-Net, 2015, section 3.1).

    Args:
        uniforms: float [B, ELASTIC_UNIFORMS], uniform in [0, 1).
        deviation: Standard deviation as a share of the side.

    Returns:
        float [B, 2, ELASTIC_GRID, ELASTIC_GRID]: how far (x, y) from its place each control point looks for its
        source, in normalised coordinates (the side is 2).
    """
    tail = 0.5 * math.erfc(MOST_DEVIATIONS / math.sqrt(2))
    normal = torch.special.ndtri(uniforms.clamp(tail, 1 - tail))
    displacements: Tensor = normal * (2 * deviation)
    return displacements.view(-1, 2, ELASTIC_GRID, ELASTIC_GRID)


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
    pairs = ((second, third), (third, first), (first, second))
    columns: list[Tensor] = [torch.linalg.cross(one, other) for one, other in pairs]
    determinant = (first * columns[0]).sum(dim=1)
    rows = 3 if projective else 2
    inverse: Tensor = torch.stack([column[:, :rows] for column in columns], dim=2) / determinant.view(-1, 1, 1)
    return inverse


def warp_affine(ink: Tensor, matrices: Tensor) -> Tensor:
    """Warp ink [B, 1, S, S] by pixel matrices [B, 3, 3], affine, source → target: Kornia's `warp_affine`."""
    return warp(ink, source_matrices(matrices, ink.shape[-1]))


def warp(ink: Tensor, sources: Tensor, displacements: Tensor | None = None) -> Tensor:
    """Warp ink, bilinear; what comes in from outside is paper (0).

    Without displacements the same as Kornia's `warp_affine` or `warp_perspective` (zeros, align_corners).

    Args:
        ink: float [B, 1, S, S] in [0, 1].
        sources: From `source_matrices`.
        displacements: float [B, 2, G, G] from `elastic_displacements`, or None; interpolated bicubically over the
            image and added to the source positions.

    Returns:
        float [B, 1, S, S]; above 1 by 1e-6 at most, since the four bilinear weights are rounded.
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
    # ATen's own sampler, bilinear and with zeros outside: `F.grid_sample` takes cuDNN's, which Inductor cannot fuse.
    return torch.grid_sampler_2d(ink, positions.permute(0, 2, 3, 1), 0, 0, True)


def _bicubic_weights(points: int, size: int, like: Tensor) -> Tensor:
    """[size, points]: bicubic interpolation as a matrix; two small products are much faster than F.interpolate."""
    impulses = torch.eye(points, dtype=like.dtype, device=like.device).view(1, points, points, 1)
    return F.interpolate(impulses, size=(size, 1), mode="bicubic", align_corners=True).view(points, size).mT
