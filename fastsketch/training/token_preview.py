"""Which patches a recipe's vision transformer would see of some sketches, in evaluation and in training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fastsketch.augment import create_augment
from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models import create_model
from fastsketch.models.ink_tokens import Selection, ink_patches
from fastsketch.preprocess import Preprocess
from fastsketch.training.progressive_resize import final_size
from fastsketch.training.tokens import apply_tokens, resolve_tokens


class TokenPreview(NamedTuple):
    """What `preview_tokens` found.

    Attributes:
        size: S, the side of what the model is shown in the end.
        grid: Patches in a column and in a row.
        shown: The sketches as evaluation and as training shows them, float32 [B, 1, S, S] in [0, 1], paper = 1; and
            which of their patches are seen.
    """

    size: int
    grid: tuple[int, int]
    shown: dict[str, tuple[Tensor, Selection]]


def preview_tokens(
    recipe: Recipe, folder: Path, dataset: DatasetMetadata, images: Tensor, labels: Tensor, seed: int
) -> TokenPreview:
    """Let the recipe's model choose among the patches of `images`; it computes nothing, and needs no weights.

    Args:
        recipe: Where its `model.tokens` is `all`, `auto` is taken: who asks wants to know what could be left out.
        folder: The data set.
        dataset: Its metadata.
        images: uint8 [B, 1, S, S], S as in the data set.
        labels: int64 [B].
        seed: Of augmentation and choice.

    Raises:
        ConfigError: The model has no patches to choose from, or not so many.
    """
    wanted = recipe.model.without_weights()
    if wanted.tokens == "all":
        wanted = wanted.model_copy(update={"tokens": "auto"})
    size = final_size(recipe.training.image_sizes, dataset.size)
    with torch.device("meta"):  # only its patches are asked for
        model = create_model(wanted, num_classes=len(dataset.classes), size=size)
    preprocess = Preprocess(size)
    augment = create_augment(recipe.augment, preprocess)
    here = recipe.data.model_copy(update={"path": folder})
    asked = recipe.model_copy(update={"model": wanted, "data": here})
    patches = ink_patches(model, preprocess)
    apply_tokens(resolve_tokens(asked, model, augment, dataset).model, model, preprocess)

    torch.manual_seed(seed)
    augmented, _ = augment(images, labels, augment.sample_params(len(images), torch.Generator().manual_seed(seed)))
    shown = {}
    for name, training, sketches in (("evaluation", False, preprocess(images)), ("training", True, augmented)):
        patches.train(training)
        seen = patches.num_patches if patches.limit is None else patches.limit
        shown[name] = sketches, patches.choose(patches.cut(sketches), seen)
    return TokenPreview(size, patches.grid_size, shown)
