"""The model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from fastsketch.config.section import PathName, Section, Width, Word

MOST_PATCHES = 262_144
"""Of the largest image in the smallest patches: 4096 px in 8 × 8."""


class ModelConfig(Section):
    """A timm model with one gray input channel.

    Attributes:
        name: A short name (`fastsketch.models.zoo.SHORT_NAMES`) or any name that timm knows.
        weights: Local .safetensors or .pth file of tensors, in timm's keys for this model.
        pretrained: Fetch timm's pretrained weights from the hub: the only thing that uses the network.
        dropout: Dropout before the classifier head.
        drop_path: Stochastic depth (Huang et al., 2016): probability with which the deepest block is skipped.
        head_hidden: Sizes of hidden layers between the backbone and the classifier, each with GELU and `dropout` after
            it; none is timm's own linear head. Plain timm opens such a model's backbone only.
        head_init: How the classifier begins: `random` as timm has it, `zero` (all classes alike), or `ridge`: solved
            instead of learned, by ridge regression on the features of all training images, in one pass without
            gradients (`fastsketch.models.ridge`). With `training.epochs` 0 that is the whole training.
        freeze_norm: Batch normalisation keeps the statistics that the weights came with, in training as in evaluation.
            `auto` is where `head_init` is `ridge`: by the statistics of a batch the features would not be those that
            the classifier was solved for, and what was gained is lost in the first steps.
        freeze_stages: So many of the backbone's first stages keep the weights that they came with: a step without their
            gradients is shorter. Stages are timm's coarse layers, of which the stem is the first: EfficientNets have 8
            before the classifier, ResNets 5, a ViT-S or -B 13.
        tokens: Patches of each image that a vision transformer sees in training, those with ink first
            (`fastsketch.models.ink_tokens`): `all`, a number, or `auto`, so many as hold all ink of 95 % of the
            augmented training images.
        eval_tokens: Those that it sees in evaluation: `same` as in training, `all`, or a number.
        paper_token: Whether one token more stands for all patches that are left out. What it learns so, it knows on all
            patches as well.
    """

    name: Word = "vit_small"
    weights: PathName | None = None
    pretrained: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head_hidden: Annotated[tuple[Width, ...], Field(max_length=16)] = ()
    head_init: Literal["random", "zero", "ridge"] = "random"
    freeze_norm: Literal["auto"] | bool = "auto"
    freeze_stages: Annotated[int, Field(ge=0, le=1000)] = 0
    tokens: Literal["all", "auto"] | int = "all"
    eval_tokens: Literal["same", "all"] | int = "same"
    paper_token: bool = True

    @property
    def keeps_statistics(self) -> bool:
        """Whether batch normalisation trains with the statistics of the weights."""
        return self.head_init == "ridge" if self.freeze_norm == "auto" else self.freeze_norm

    def without_weights(self) -> ModelConfig:
        """The same model from random weights: where others are loaded, the file that it began with may be gone."""
        return self.model_copy(update={"weights": None, "pretrained": False})

    @field_validator("tokens", "eval_tokens", mode="before")
    @classmethod
    def _words_or_count(cls, value: object, info: ValidationInfo) -> object:
        words = ("all", "auto") if info.field_name == "tokens" else ("same", "all")
        number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PATCHES
        if number or (isinstance(value, str) and value in words):
            return value
        raise ValueError(f"must be {words[0]}, {words[1]} or a number of patches from 1 to {MOST_PATCHES:,}")
