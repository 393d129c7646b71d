from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry.transform import get_perspective_transform, remap, warp_perspective
from kornias import FLOAT64_TOLERANCE
from sketches import ink_of, sketches
from torch import Tensor

from fastsketch.augment import geometry
from fastsketch.augment.geometry import source_matrices, warp, warp_affine
from fastsketch.config import AugmentConfig

SIZE = 64


def uniforms(count: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def still(*changes: tuple[int, float]) -> Tensor:
    """Uniforms of one affine matrix that does nothing, but for `changes`: (column, value)."""
    numbers = torch.full((1, geometry.UNIFORMS), 0.5, dtype=torch.float64)
    numbers[0, 6] = 0.99  # no flip
    for column, value in changes:
        numbers[0, column] = value
    return numbers


def apply_params(ink: Tensor, numbers: Tensor, **config: object) -> Tensor:
    plain = {"rotation": 0, "translation": 0, "scale": (1, 1), "shear": 0, "flip": 0}
    settings = AugmentConfig.model_validate({**plain, **config})
    return warp_affine(ink, geometry.affine_matrices(numbers, settings, SIZE))


# ------------------------------------------------------------------------------------------- parity with Kornia


def test_perspective_matrix_is_kornias_solution() -> None:
    numbers = uniforms(32, 8)
    side = SIZE - 1
    corners = torch.tensor([[0, 0], [side, 0], [side, side], [0, side]], dtype=torch.float64).expand(32, 4, 2)
    inwards = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=torch.float64)
    moved = corners + inwards * numbers.view(32, 4, 2) * (0.6 * side / 2)
    expected = get_perspective_transform(corners, moved)
    torch.testing.assert_close(geometry.perspective_matrices(numbers, 0.6, SIZE), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, FLOAT64_TOLERANCE)])
def test_perspective_and_affine_together_are_kornias(dtype: torch.dtype, tolerance: float) -> None:
    ink = ink_of(sketches(16), dtype)
    affine = geometry.affine_matrices(uniforms(16, 7, dtype=dtype), AugmentConfig(), SIZE)
    matrices = geometry.perspective_matrices(uniforms(16, 8, seed=1, dtype=dtype), 0.4, SIZE) @ affine
    expected = warp_perspective(ink, matrices, (SIZE, SIZE), align_corners=True)
    ours = warp(ink, source_matrices(matrices, SIZE, projective=True))
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


def test_elastic_is_kornias_remap_of_the_interpolated_grid() -> None:
    ink = ink_of(sketches(8), torch.float64)
    displacements = geometry.elastic_displacements(uniforms(8, geometry.ELASTIC_UNIFORMS), 0.05)
    identity = torch.eye(3, dtype=torch.float64).expand(8, 3, 3)
    dense = F.interpolate(displacements, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
    pixels = torch.arange(SIZE, dtype=torch.float64)
    map_x = pixels + dense[:, 0] * (SIZE - 1) / 2
    map_y = pixels.view(-1, 1) + dense[:, 1] * (SIZE - 1) / 2
    expected = remap(ink, map_x, map_y, align_corners=True)
    ours = warp(ink, source_matrices(identity, SIZE), displacements)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)
    assert not torch.allclose(ours, ink, atol=0.1)


def test_elastic_displacements_are_normal() -> None:
    moved = geometry.elastic_displacements(uniforms(4000, geometry.ELASTIC_UNIFORMS), 0.03)
    assert moved.shape == (4000, 2, geometry.ELASTIC_GRID, geometry.ELASTIC_GRID)
    assert moved.std().item() == pytest.approx(2 * 0.03, rel=0.02)  # the side is 2
    assert moved.mean().item() == pytest.approx(0, abs=1e-3)
    assert geometry.elastic_displacements(torch.zeros(1, 18), 0.03).isfinite().all()


# ------------------------------------------------------------------------------------------- which way it turns


def test_flip_comes_before_rotation() -> None:
    ink = ink_of(sketches(1), torch.float64)
    both = apply_params(ink, still((6, 0.0), (0, 1.0)), flip=1, rotation=90)
    torch.testing.assert_close(both, ink.flip(3).rot90(-1, dims=(2, 3)), rtol=0, atol=FLOAT64_TOLERANCE)


# -------------------------------------------------------------------------------------------------- properties

sides = st.floats(0, 0.999)


@given(
    numbers=st.lists(sides, min_size=15, max_size=15),
    rotation=st.floats(0, 180),
    shear=st.floats(0, 75),
    scale=st.floats(0.01, 100),
    distortion=st.floats(0, 0.9),
    size=st.integers(8, 300),
)
@settings(deadline=None, max_examples=300)
def test_every_configuration_has_an_inverse(
    numbers: list[float], rotation: float, shear: float, scale: float, distortion: float, size: int
) -> None:
    drawn = torch.tensor([numbers])
    config = AugmentConfig(rotation=rotation, shear=shear, scale=(scale, scale), translation=1)
    affine = geometry.affine_matrices(drawn[:, :7], config, size)
    matrices = geometry.perspective_matrices(drawn[:, 7:], distortion, size) @ affine
    assert source_matrices(affine, size).isfinite().all()
    sources = source_matrices(matrices, size, projective=True)
    assert sources.isfinite().all()
    warped = warp(torch.ones(1, 1, size, size), sources)
    assert 0 <= warped.min() <= warped.max() <= 1 + 1e-6


def test_parameters_fill_their_ranges() -> None:
    config = AugmentConfig(rotation=15, translation=0, scale=(1, 1), shear=0, flip=0)
    matrices = geometry.affine_matrices(uniforms(5000, 7), config, SIZE)
    angles = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert angles.min().item() == pytest.approx(-15, abs=0.1)
    assert angles.max().item() == pytest.approx(15, abs=0.1)
    assert angles.std().item() == pytest.approx(30 / math.sqrt(12), rel=0.03)
