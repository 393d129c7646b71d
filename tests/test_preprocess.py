from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastsketch.augment import create_augment
from fastsketch.config import AugmentConfig, ModelConfig
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess, shrink
from fastsketch.training.loss import mixed_cross_entropy

EVERYTHING = AugmentConfig(
    thickness=1, thickness_range=(2, 3), erasing=0.5, mixup=1, cutmix=1, perspective=0.2, elastic=0.02
)


def sketches(count: int = 8, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=torch.manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(source=st.integers(9, 96), share=st.floats(0.1, 1))
def test_shrinking_is_what_conversion_does(source: int, share: float) -> None:
    size = max(8, round(share * source))
    image = sketches(1, source)
    pillow = Image.fromarray(image[0, 0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
    shrunk = shrink(image, size)
    assert shrunk.dtype == torch.uint8
    assert shrunk.shape == (1, 1, size, size)
    assert np.abs(shrunk[0, 0].numpy().astype(int) - np.asarray(pillow)).max() <= 1


def test_the_same_size_is_the_same_tensor() -> None:
    images = sketches()
    assert shrink(images, 64) is images


@pytest.mark.parametrize("gray", [0, 1, 128, 255])
def test_a_flat_image_stays_as_flat(gray: int) -> None:
    assert (shrink(torch.full((2, 1, 50, 50), gray, dtype=torch.uint8), 37) == gray).all()


@pytest.mark.parametrize("engine", ["fused", "kornia"])
def test_training_at_a_smaller_size_is_training_on_the_smaller_data_set(engine: str) -> None:
    config = AugmentConfig(engine="kornia", thickness=0.5) if engine == "kornia" else EVERYTHING
    images, labels = sketches(), torch.arange(8)
    augment = create_augment(config, Preprocess(40))
    results = []
    for batch in (images, shrink(images, 40)):
        torch.manual_seed(1)
        results.append(augment(batch, labels, augment.sample_params(8, torch.Generator().manual_seed(1))))
    (first, first_targets), (second, second_targets) = results
    assert first.shape == (8, 1, 40, 40)
    assert torch.equal(first, second)
    assert all(torch.equal(one, other) for one, other in zip(first_targets, second_targets, strict=True))


def test_evaluation_shrinks_too() -> None:
    images = sketches()
    torch.testing.assert_close(Preprocess(40, mean=0.9, std=0.2)(images), (shrink(images, 40) / 255 - 0.9) / 0.2)


@settings(max_examples=25, deadline=None)
@given(mean=st.floats(0, 1), std=st.floats(0.05, 2), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_a_models_input_leads_back_to_its_ink(mean: float, std: float, dtype: torch.dtype) -> None:
    preprocess, images = Preprocess(64, mean, std), sketches()
    ink = preprocess.ink(preprocess(images).to(dtype))
    assert ink.dtype == torch.float32
    torch.testing.assert_close(ink, 1 - images / 255, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_every_phase_trains_the_same_model(name: str) -> None:
    model = create_model(ModelConfig(name=name), num_classes=8, size=64, train_sizes=(32, 48, 64))
    generator = torch.Generator().manual_seed(0)
    for size in (32, 48, 64):
        augment = create_augment(EVERYTHING, Preprocess(size))
        images, targets = augment(sketches(), torch.arange(8), augment.sample_params(8, generator))
        assert images.shape == (8, 1, size, size)
        logits = model(images)
        assert logits.shape == (8, 8)
        mixed_cross_entropy(logits, targets).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("size", [32, 48, 64])
def test_compiled_it_is_one_static_graph_at_any_size(size: int) -> None:
    augment = create_augment(EVERYTHING, Preprocess(size))
    torch._dynamo.reset()
    compiled = torch.compile(augment, backend="aot_eager", fullgraph=True, dynamic=False)
    params = augment.sample_params(8, torch.Generator().manual_seed(size))
    images, _ = compiled(sketches(), torch.arange(8), params)
    assert images.shape == (8, 1, size, size)
    torch.testing.assert_close(images, augment(sketches(), torch.arange(8), params)[0])
    torch._dynamo.reset()


def test_it_only_normalises() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    torch.testing.assert_close(Preprocess(16, mean=0.9, std=0.2)(images), (images / 255 - 0.9) / 0.2, rtol=0, atol=1e-5)


def test_unit_normalisation_keeps_every_gray_value_apart() -> None:
    grays = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit = Preprocess(16)(grays)
    assert torch.equal((unit * 255).round().to(torch.uint8), grays)
    assert unit.min() == 0
    assert unit.max() == 1
