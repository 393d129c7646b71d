from __future__ import annotations

import math

import pytest

from fastsketch.config import AugmentConfig
from fastsketch.errors import ConfigError
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe, recipe_names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", "[1.1, 0.9]"),
        ("scale", "[0, 1]"),
        ("scale", "[1, .inf]"),
        ("thickness_range", "[3, 2]"),
        ("thickness_range", "[0, 2]"),
        ("thickness_range", "[-1, 2]"),
        ("thickness_range", "[2.5, 3]"),
        ("thickness_range", "[2, 1000]"),
        ("erasing_area", "[0.5, 0.1]"),
        ("erasing_area", "[0.5, 1.1]"),
        ("rotation", "-5"),
        ("rotation", ".nan"),
        ("translation", "-0.1"),
        ("shear", "89"),
        ("perspective", "1"),
        ("elastic", "-0.1"),
        ("mixup", "-1"),
        ("cutmix", ".inf"),
        ("engine", "torchvision"),
        *((name, value) for name in ("flip", "thickness", "thinning", "erasing") for value in ("-0.1", "1.1")),
        *((name, value) for name in ("mix_probability", "cutmix_share") for value in ("-0.1", "1.1", ".nan")),
    ],
)
def test_what_cannot_be_meant_is_an_error(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.{key}"):
        load_recipe(overrides=[f"augment.{key}={value}"])


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_a_batch_of_one_has_no_partners(mixing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(overrides=[f"augment.{mixing}=1", "data.batch_size=1"])
    assert caught.value.message.splitlines()[1:] == [
        "  augment.mixup and augment.cutmix need data.batch_size of 2 or more: partners to mix with"
    ]
    load_recipe(overrides=[f"augment.{mixing}=1", "augment.mix_probability=0", "data.batch_size=1"])
    load_recipe(overrides=["data.batch_size=1"])


@pytest.mark.parametrize("beyond", ["perspective=0.2", "elastic=0.1", "thinning=0.5", "erasing=0.1", "mixup=0.4"])
def test_stock_kornia_does_not_pretend(beyond: str) -> None:
    with pytest.raises(ConfigError, match="augment: engine kornia") as caught:
        load_recipe(overrides=["augment.engine=kornia", f"augment.{beyond}"])
    assert len(caught.value.message.splitlines()) == 2
    assert len(caught.value.message) < 200


def test_the_defaults_are_the_reports_first_rung() -> None:
    assert load_recipe("report-1-affine").augment == AugmentConfig()


def test_every_recipe_augments_without_nan() -> None:
    import torch

    from fastsketch.augment import SketchAugment

    for name in recipe_names():
        augment = SketchAugment(load_recipe(name).augment, Preprocess(32))
        blank = torch.full((4, 1, 32, 32), 255, dtype=torch.uint8)
        images, _ = augment(blank, torch.zeros(4, dtype=torch.int64), augment.sample_params(4, torch.Generator()))
        assert math.isclose(images.mean().item(), 1)
