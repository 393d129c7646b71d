"""From `model.tokens` of a recipe to a model that keeps so many patches (`fastsketch.models.ink_tokens`)."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fastsketch.augment import SketchAugment
from fastsketch.config import ModelConfig, Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models.ink_tokens import InkPatchEmbed, auto_tokens, ink_patches, keep_inked
from fastsketch.preprocess import Preprocess

log = logging.getLogger(__name__)

SKETCHES = 1024
"""Training images that `auto` augments and measures: the quantile's standard error is 0.7 % of the images."""

BATCH = 64
"""Of those at a time; MixUp and CutMix need partners."""


def resolve_tokens(recipe: Recipe, model: nn.Module, augment: SketchAugment, dataset: DatasetMetadata) -> Recipe:
    """Put a number, or `all`, in the place of `auto`, by what the recipe's augmentation makes of the training images.

    The counts that a data set records are of images as they are and of 16 × 16 patches. Augmentation moves them (lines
    get thicker, MixUp lays two sketches on each other) and models have other patches, so both are measured together.
    The same recipe and data give the same number.

    Args:
        recipe: Returned as it is unless `model.tokens` is `auto`.
        model: As `create_model` made it; on any device, the meta device included.
        augment: Of the training, on the device where to compute.
        dataset: The data set at `data.path`, whose `train` is looked at.

    Raises:
        ConfigError: The model has no patches to choose from.
    """
    folder = recipe.data.path
    if recipe.model.tokens != "auto":
        return recipe
    assert folder is not None, "check_data has seen it"
    patches = ink_patches(model, augment.preprocess)
    inked = _inked(patches, augment, PackSplit(folder, dataset, "train"))
    others = getattr(model, "num_prefix_tokens", 0) + recipe.model.paper_token
    tokens = auto_tokens(inked, patches.num_patches, others)
    if tokens is None:
        share = inked.mean() / patches.num_patches
        log.info(
            "ink tokens: all %d patches are kept, for images have ink in %.0f %%", patches.num_patches, 100 * share
        )
    else:
        whole = (inked <= tokens).mean()
        log.info("ink tokens: %d of %d patches, all ink of %.0f %% of images", tokens, patches.num_patches, 100 * whole)
    numbered = recipe.model.model_copy(update={"tokens": tokens or "all"})
    return recipe.model_copy(update={"model": numbered})


def apply_tokens(config: ModelConfig, model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Let the model keep as many patches as `config` says, in training and in evaluation; `auto` is resolved before.

    Raises:
        ConfigError: The model has no patches to choose from, or not so many.
    """
    if config.tokens == "auto":
        raise ValueError("model.tokens=auto comes to resolve_tokens first")
    tokens = None if config.tokens == "all" else config.tokens
    match config.eval_tokens:
        case "same":
            eval_tokens = tokens
        case "all":
            eval_tokens = None
        case int(number):
            eval_tokens = number
    return keep_inked(model, tokens, preprocess, eval_tokens=eval_tokens, paper_token=config.paper_token)


@torch.no_grad()
def _inked(patches: InkPatchEmbed, augment: SketchAugment, split: PackSplit) -> npt.NDArray[np.int64]:
    """Patches with ink of each of `SKETCHES` training images, augmented: int64 [n]."""
    rows = np.random.default_rng(0).permutation(len(split))[:SKETCHES]
    device = augment.mixup_quantiles.device
    generator = torch.Generator(device).manual_seed(0)
    counts = []
    for chosen in np.array_split(rows, -(-len(rows) // BATCH)):
        images = torch.from_numpy(split.images[chosen]).to(device)
        labels = torch.zeros(len(images), dtype=torch.int64, device=device)
        augmented, _ = augment(images, labels, augment.sample_params(len(images), generator))
        counts.append(patches.inked(patches.cut(augmented)).sum(dim=(1, 2)))
    found: npt.NDArray[np.int64] = torch.cat(counts).cpu().numpy()
    return found
