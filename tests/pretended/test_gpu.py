"""Of every recipe, all that runs on the device in a step and in validation: nothing waits, and nothing is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from fastsketch.augment import SketchAugment, Targets
from fastsketch.config import Recipe
from fastsketch.loaders import Batch
from fastsketch.models import create_model
from fastsketch.models.ink_tokens import keep_inked
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe, recipe_names
from fastsketch.training.ema import Ema
from fastsketch.training.execution.precision import autocast, resolve_precision
from fastsketch.training.loss import mixed_cross_entropy
from fastsketch.training.optim import create_optimizer
from fastsketch.training.validation import accuracy_metrics, validate

BATCH, CLASSES, STORED = 16, 250, 256
TOKENS = 95


def different(*keys: str) -> list[str]:
    """Names of recipes, the first of each of which some settings are the same."""
    found: dict[tuple[object, ...], str] = {}
    for name in recipe_names():
        sections = load_recipe(name).model_dump(mode="json")
        found.setdefault(tuple(str(sections[key.split(".")[0]][key.split(".")[1]]) for key in keys), name)
    return list(found.values())


@lru_cache
def made(name: str) -> tuple[nn.Module, Preprocess]:
    """A recipe's model on the meta device, and what it is shown; once, for making it takes half as long as a test."""
    recipe = load_recipe(name)
    size = (recipe.training.image_sizes or (224,))[-1]
    with torch.device("meta"):
        model = create_model(recipe.model.without_weights(), num_classes=CLASSES, size=size)
    preprocess = Preprocess(size, 0.5, 0.5)
    return (model if recipe.model.tokens == "all" else keep_inked(model, TOKENS, preprocess)), preprocess


def batch() -> Batch:
    return Batch(
        torch.empty(BATCH, 1, STORED, STORED, dtype=torch.uint8, device="cuda"),
        torch.empty(BATCH, dtype=torch.int64, device="cuda"),
        torch.empty(BATCH, dtype=torch.int64, device="cuda"),
    )


@dataclass
class Loader:
    """Two batches; counts those that were taken."""

    taken: int = 0

    def epoch(self) -> Iterator[Batch]:
        for _ in range(2):
            yield batch()
            self.taken += 1


def augmented(recipe: Recipe, preprocess: Preprocess) -> tuple[Tensor, Targets]:
    augment = SketchAugment(recipe.augment, preprocess).to("cuda")
    images, labels, _ = batch()
    inputs, targets = augment(images, labels, augment.sample_params(BATCH, torch.Generator()))
    return inputs, targets


@pytest.fixture(params=recipe_names())
def recipe_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def recipe(recipe_name: str) -> Recipe:
    return load_recipe(recipe_name)


@pytest.fixture
def outline(recipe_name: str) -> tuple[nn.Module, Preprocess]:
    """Made before anything is pretended, for timm looks at values when it makes a model."""
    model, preprocess = made(recipe_name)
    return deepcopy(model), preprocess


def test_a_batch_becomes_a_loss(recipe: Recipe, outline: tuple[nn.Module, Preprocess], gpu: torch.device) -> None:
    model, preprocess = outline
    model.to_empty(device=gpu).train()
    inputs, targets = augmented(recipe, preprocess)
    assert inputs.shape == (BATCH, 1, preprocess.size, preprocess.size)
    assert inputs.dtype == torch.float32
    precision = resolve_precision("auto", gpu)
    assert precision == torch.float16
    with torch.no_grad(), autocast(gpu, precision):
        logits = model(inputs)
    assert logits.dtype == torch.float16
    assert logits.shape == (BATCH, CLASSES)
    loss = mixed_cross_entropy(logits, targets, recipe.training.label_smoothing)
    assert (loss.dtype, loss.device, loss.shape) == (torch.float32, gpu, ())


@pytest.mark.parametrize("recipe_name", different("model.name", "optimizer.name"))
def test_gradients_become_weights(recipe: Recipe, outline: tuple[nn.Module, Preprocess], gpu: torch.device) -> None:
    """Clipping, the optimizer and the moving average."""
    model, _ = outline
    model.to_empty(device=gpu).train()
    optimizer = create_optimizer(model, recipe.optimizer)
    if isinstance(optimizer, torch.optim.SGD):  # whose fused kernel alone has no pretended one
        assert optimizer.param_groups[0]["fused"]
        optimizer.param_groups[:] = [{**group, "fused": False, "foreach": True} for group in optimizer.param_groups]
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert norm.device == gpu
    optimizer.step()
    Ema(model, decay=0.99).follow(1)
    assert all(state.device == gpu for values in optimizer.state.values() for state in values.values())


@pytest.mark.parametrize("recipe_name", different("model.name", "model.tokens", "evaluation.flip"))
def test_validation_reads_once_at_its_end(
    recipe: Recipe, outline: tuple[nn.Module, Preprocess], gpu: torch.device
) -> None:
    model, preprocess = outline
    model.to_empty(device=gpu)
    metrics, loader = accuracy_metrics(CLASSES).to(gpu), Loader()
    with torch.no_grad(), pytest.raises(DataDependentOutputException):
        validate(model, preprocess, loader, metrics, flip=recipe.evaluation.flip, precision=torch.float16)  # type: ignore[arg-type]
    assert loader.taken == 2
