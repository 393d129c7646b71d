"""The product's own augmentation and training step, lowered for a pretended T4, and what drawing parameters takes."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastsketch.augment import SketchAugment, Targets, create_augment
from fastsketch.config import ModelConfig, Recipe
from fastsketch.models import create_model
from fastsketch.models.ink_tokens import keep_inked
from fastsketch.models.zoo import to_device
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.compile import AUGMENT_OPTIONS
from fastsketch.training.execution.step import TrainStep

from .lowered import Lowered, lower
from .pretended import pretended_t4
from .traced import on_gpu, trace_forward, trace_training

SIZE, CLASSES = 224, 250


def lower_augmentation(recipe: Recipe, size: int, batch: int) -> Lowered:
    """The augmentation of a recipe, from uint8 to the model's input, as `Trainer` compiles it."""
    augment: SketchAugment = create_augment(recipe.augment, Preprocess(size))
    images = torch.empty(batch, 1, size, size, dtype=torch.uint8)
    params = augment.sample_params(batch, torch.Generator().manual_seed(0))
    with pretended_t4() as fake:
        traced = trace_forward(augment, (images, torch.zeros(batch, dtype=torch.int64), params), fake)
        return lower(traced, fake, AUGMENT_OPTIONS)


class _Operations(TorchDispatchMode):
    """Counts what is a kernel on a GPU: everything but views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run one operation."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations_of_params(recipe: Recipe) -> int:
    """Kernels that draw the parameters of the augmentation, once for `CHUNK` steps, in eager mode as in `Trainer`."""
    augment = create_augment(recipe.augment, Preprocess(SIZE))
    with _Operations() as operations:
        augment.sample_params(4, torch.Generator().manual_seed(0))
    return int(operations.count)


def lower_passes(recipe: Recipe, model_name: str, tokens: int | None, batch: int) -> list[Lowered]:
    """Forward and backward pass of `TrainStep`'s loss."""
    preprocess = Preprocess(SIZE)
    model = create_model(
        ModelConfig(name=model_name, dropout=recipe.model.dropout), num_classes=CLASSES, size=SIZE
    ).train()
    model = keep_inked(to_device(model, torch.device("cpu")), tokens, preprocess)
    step = TrainStep(
        model,
        create_augment(recipe.augment, preprocess),
        torch.optim.SGD(model.parameters()),  # which is not lowered: `UPDATE_BYTES` stands for it
        torch.amp.GradScaler("cpu", enabled=False),
        precision=torch.float16,
        micro_batch=batch,
        config=recipe.training,
    )
    targets = Targets.plain(torch.zeros(batch, dtype=torch.int64))
    found = trace_training(step.loss_of, torch.zeros(batch, 1, SIZE, SIZE), targets)
    with pretended_t4() as fake:
        return [lower(on_gpu(traced, fake), fake) for traced in found]
