"""Kornia's stock modules as the oracle of ours, and their own wiring."""

from __future__ import annotations

import pytest
import torch
from kornia.geometry.transform import get_affine_matrix2d
from sketches import ink_of, sketches

from fastsketch.augment import SketchAugment
from fastsketch.augment.geometry import warp_affine
from fastsketch.augment.kornia_pipeline import KorniaAugment
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess

SIZE = 64


def labels(count: int) -> torch.Tensor:
    return torch.arange(count)


def test_geometry_is_the_stock_modules_given_their_parameters() -> None:
    torch.manual_seed(0)
    config = AugmentConfig(engine="kornia", rotation=30, translation=0.2, scale=(0.7, 1.3), shear=20, flip=0.5)
    stock, ink = KorniaAugment(config, Preprocess(SIZE)), ink_of(sketches(32), torch.float64)
    expected = stock.geometry(ink)
    flips, affine = (item.data for item in stock.geometry._params)
    matrices = get_affine_matrix2d(
        affine["translations"].double(),
        affine["center"].double(),
        affine["scale"].double(),
        affine["angle"].double(),
        affine["shear_x"].double().deg2rad(),
        affine["shear_y"].double().deg2rad(),
    )
    flip = flips["batch_prob"].bool()
    assert 0 < flip.sum() < 32
    mirror = torch.tensor([[-1, 0, SIZE - 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    matrices = torch.where(flip.view(-1, 1, 1), matrices @ mirror, matrices)
    torch.testing.assert_close(warp_affine(ink, matrices), expected, rtol=0, atol=1e-5)


def test_both_engines_draw_from_the_same_ranges() -> None:
    config = AugmentConfig(rotation=30, translation=0.2, scale=(0.7, 1.3), shear=20, flip=0.3)
    torch.manual_seed(0)
    stock = KorniaAugment(config, Preprocess(SIZE))
    stock.geometry(torch.zeros(4000, 1, 8, 8))
    theirs = stock.geometry.transform_matrix.inverse()[:, :2, :2].flatten(1)
    ours = (
        SketchAugment(config, Preprocess(SIZE))
        .sample_params(4000, torch.Generator().manual_seed(0))
        .sources[:, :, :2]
        .flatten(1)
    )
    torch.testing.assert_close(ours.mean(dim=0), theirs.mean(dim=0), rtol=0, atol=0.06)
    torch.testing.assert_close(ours.std(dim=0), theirs.std(dim=0), rtol=0, atol=0.03)
    for share in (0.01, 0.5, 0.99):
        torch.testing.assert_close(ours.quantile(share, 0), theirs.quantile(share, 0), rtol=0, atol=0.1)


@pytest.mark.parametrize("mixing", [{"mixup": 1}, {"cutmix": 1}, {"mixup": 1, "cutmix": 1}])
def test_lambda_is_what_the_pixels_say(mixing: dict[str, float]) -> None:
    torch.manual_seed(0)
    still = {"rotation": 0, "translation": 0, "scale": (1, 1), "shear": 0, "flip": 0, "engine": "kornia"}
    augment = KorniaAugment(AugmentConfig.model_validate({**still, **mixing}), Preprocess(SIZE))
    # Image i holds i / 8 of ink, so that its mean tells what it was mixed of.
    images = (255 - torch.arange(9) * 28).to(torch.uint8).view(9, 1, 1, 1).expand(9, 1, SIZE, SIZE)
    for _ in range(4):
        mixed, targets = augment(images, labels(9), augment.sample_params(9, torch.Generator()))
        shares = targets.lam * targets.labels + (1 - targets.lam) * targets.partners
        torch.testing.assert_close((1 - mixed).mean(dim=(1, 2, 3)) * 255 / 28, shares, rtol=0, atol=1e-3)


def test_thickness_of_both_engines_adds_the_same_ink() -> None:
    torch.manual_seed(0)
    still = {"rotation": 0, "translation": 0, "scale": (1, 1), "shear": 0, "flip": 0}
    config = AugmentConfig.model_validate({**still, "thickness": 1, "thickness_range": (3, 3)})
    images, generator = sketches(6), torch.Generator().manual_seed(0)
    ours, theirs = SketchAugment(config, Preprocess(SIZE)), KorniaAugment(config, Preprocess(SIZE))
    (mine, _), (stock, _) = (each(images, labels(6), each.sample_params(6, generator)) for each in (ours, theirs))
    torch.testing.assert_close(mine, stock, rtol=0, atol=1e-4)
