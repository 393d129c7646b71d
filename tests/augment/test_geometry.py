from __future__ import annotations

import math

import pytest
import torch
from kornia.geometry.transform import get_affine_matrix2d, hflip
from kornia.geometry.transform import warp_affine as kornia_warp_affine
from kornias import FLOAT64_TOLERANCE
from torch import Tensor

from fastsketch.augment.geometry import UNIFORMS, affine_matrices, warp_affine
from fastsketch.config import AugmentConfig

ANGLE, SHIFT_X, SHIFT_Y, SCALE, SHEAR_X, SHEAR_Y, FLIP = range(UNIFORMS)

STILL = AugmentConfig(rotation=0, translation=0, scale=(1, 1), shear=0, flip=0)
"""Moves nothing."""


def uniforms(device: torch.device, batch: int = 1, **drawn: float) -> Tensor:
    """Numbers in the middle of every range and no flip, except those given by name."""
    numbers = torch.full((batch, UNIFORMS), 0.5, device=device)
    numbers[:, FLIP] = 0.999
    for name, value in drawn.items():
        numbers[:, globals()[name]] = value
    return numbers


def strokes(device: torch.device, batch: int, size: int) -> Tensor:
    """Ink float32 [batch, 1, size, size] without symmetry, up to the very edge."""
    generator = torch.Generator().manual_seed(0)
    ink = (torch.rand(batch, 1, size, size, generator=generator) > 0.7).float()
    return (ink * torch.rand(batch, 1, size, size, generator=generator)).to(device)


def moved(dot: tuple[int, int], config: AugmentConfig, numbers: Tensor, size: int = 65) -> tuple[int, int]:
    """Where the one dark pixel (x, y) of an image goes; the centre is (size - 1) / 2."""
    ink = torch.zeros(1, 1, size, size, device=numbers.device)
    ink[0, 0, dot[1], dot[0]] = 1
    warped = warp_affine(ink, affine_matrices(numbers, config, size))
    y, x = divmod(int(warped.argmax()), size)
    assert warped.max() > 0.9
    return x, y


# ------------------------------------------------------------------------------------------------ against Kornia


@pytest.mark.parametrize("size", [31, 64, 224])
@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_warp_is_kornias_with_the_same_parameters(
    device: torch.device, size: int, flip: float, dtype: torch.dtype
) -> None:
    config = AugmentConfig(rotation=40, translation=0.2, scale=(0.6, 1.7), shear=25, flip=flip)
    batch = 8
    numbers = torch.rand(batch, UNIFORMS, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    ink = strokes(device, batch, size).to(dtype)

    signed = 2 * numbers - 1
    scale = 0.6 + 1.1 * numbers[:, SCALE]
    matrices = get_affine_matrix2d(
        translations=signed[:, [SHIFT_X, SHIFT_Y]] * 0.2 * size,
        center=torch.full((batch, 2), (size - 1) / 2, device=device, dtype=dtype),
        scale=torch.stack([scale, scale], dim=1),
        angle=signed[:, ANGLE] * 40,
        sx=signed[:, SHEAR_X] * math.radians(25),
        sy=signed[:, SHEAR_Y] * math.radians(25),
    )
    mirrored = (numbers[:, FLIP] < flip).view(-1, 1, 1, 1)
    source = torch.where(mirrored, hflip(ink), ink)
    expected = kornia_warp_affine(source, matrices[:, :2], (size, size), align_corners=True)

    found = warp_affine(ink, affine_matrices(numbers, config, size))
    assert found.shape == ink.shape
    # In float32 a point is known to some 4e-7 of the side, Kornia's as well as ours, and this image is all contrast.
    tolerance = FLOAT64_TOLERANCE if dtype == torch.float64 else 4e-7 * size
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_the_same_matrices_warp_the_same(device: torch.device) -> None:
    config = AugmentConfig(rotation=180, translation=0.5, scale=(0.3, 3), shear=40, flip=0.5)
    numbers = torch.rand(32, UNIFORMS, generator=torch.Generator().manual_seed(2)).to(device)
    matrices = affine_matrices(numbers, config, 48).double()
    ink = strokes(device, 32, 48).double()
    expected = kornia_warp_affine(ink, matrices[:, :2], (48, 48), align_corners=True)
    torch.testing.assert_close(warp_affine(ink, matrices), expected, atol=FLOAT64_TOLERANCE, rtol=0)


# ------------------------------------------------------------------------------------------------------ identity


@pytest.mark.parametrize("size", [31, 32, 128, 224])
def test_identity_parameters_leave_the_image_as_it_is(device: torch.device, size: int) -> None:
    images = torch.randint(0, 256, (4, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    for config in (STILL, AugmentConfig()):  # nothing to draw, and the middle of every range
        matrices = affine_matrices(uniforms(device, 4), config, size)
        torch.testing.assert_close(matrices, torch.eye(3, device=device).expand(4, 3, 3), atol=1e-4, rtol=0)
        found = warp_affine(images.float() / 255, matrices)
        torch.testing.assert_close((found * 255).round().to(torch.uint8), images, atol=0, rtol=0)


def test_paper_stays_paper_wherever_it_goes(device: torch.device) -> None:
    config = AugmentConfig(rotation=180, translation=1, scale=(0.1, 3), shear=60)
    numbers = torch.rand(64, UNIFORMS, generator=torch.Generator().manual_seed(3)).to(device)
    assert (warp_affine(torch.zeros(64, 1, 32, 32, device=device), affine_matrices(numbers, config, 32)) == 0).all()


def test_what_comes_in_from_outside_is_paper(device: torch.device) -> None:
    config = STILL.model_copy(update={"translation": 0.5})
    found = warp_affine(
        torch.ones(1, 1, 32, 32, device=device), affine_matrices(uniforms(device, SHIFT_X=1.0), config, 32)
    )
    torch.testing.assert_close(found[..., :15], torch.zeros_like(found[..., :15]))
    torch.testing.assert_close(found[..., 17:], torch.ones_like(found[..., 17:]))


# ----------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize(
    ("number", "to"), [(1.0, (32, 52)), (0.0, (32, 12)), (0.5, (52, 32))], ids=["clockwise", "anticlockwise", "not"]
)
def test_a_positive_angle_turns_clockwise(device: torch.device, number: float, to: tuple[int, int]) -> None:
    config = STILL.model_copy(update={"rotation": 90.0})
    assert moved((52, 32), config, uniforms(device, ANGLE=number)) == to  # from the right of the centre


@pytest.mark.parametrize(
    ("name", "number", "to"),
    [("SHIFT_X", 1.0, (53, 20)), ("SHIFT_X", 0.0, (27, 20)), ("SHIFT_Y", 1.0, (40, 33)), ("SHIFT_Y", 0.0, (40, 7))],
)
def test_a_positive_shift_goes_right_and_down(
    device: torch.device, name: str, number: float, to: tuple[int, int]
) -> None:
    config = STILL.model_copy(update={"translation": 0.2})  # a share of the side: 13 of 65 pixels
    assert moved((40, 20), config, uniforms(device, **{name: number})) == to


@pytest.mark.parametrize(("number", "to"), [(0.0, (37, 27)), (1.0, (52, 12))])
def test_scale_is_about_the_centre(device: torch.device, number: float, to: tuple[int, int]) -> None:
    ink = torch.zeros(1, 1, 65, 65, device=device)
    ink[0, 0, 20:25, 40:45] = 1  # around (42, 22), which is (10, -10) from the centre
    config = STILL.model_copy(update={"scale": (0.5, 2.0)})
    warped = warp_affine(ink, affine_matrices(uniforms(device, SCALE=number), config, 65))[0, 0]
    rows, columns = torch.nonzero(warped > 0.5, as_tuple=True)
    assert (round(columns.float().mean().item()), round(rows.float().mean().item())) == to


def test_a_flip_mirrors_left_and_right_exactly(device: torch.device) -> None:
    ink = strokes(device, 3, 32)
    config = STILL.model_copy(update={"flip": 0.5})
    numbers = uniforms(device, 3)
    numbers[1, FLIP] = 0.4  # the second alone
    found = warp_affine(ink, affine_matrices(numbers, config, 32))
    expected = torch.stack([ink[0], ink[1].flip(-1), ink[2]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_flip_comes_before_the_shift(device: torch.device) -> None:
    config = STILL.model_copy(update={"flip": 0.5, "translation": 0.2})
    assert moved((40, 20), config, uniforms(device, FLIP=0.0, SHIFT_X=1.0)) == (64 - 40 + 13, 20)


def test_the_probability_of_a_flip(device: torch.device) -> None:
    numbers = torch.rand(1000, UNIFORMS, generator=torch.Generator().manual_seed(0)).to(device)
    for flip in (0.0, 0.25, 1.0):
        matrices = affine_matrices(numbers, STILL.model_copy(update={"flip": flip}), 32)
        assert (matrices[:, 0, 0] < 0).float().mean().item() == pytest.approx(flip, abs=0.05)
