"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fastsketch.config.section import NotNegative, Positive, Section, Word


class OptimizerConfig(Section):
    """An optimizer from timm's factory.

    Attributes:
        name: timm's name: `momentum` is SGD with momentum, `sgd` adds Nesterov's, `adamw`, `lamb`, ...
        lr: Peak learning rate.
        momentum: For those optimizers that have one.
        weight_decay: Not applied to biases and normalisation layers.
        layer_decay: Factor of the learning rate from each layer to the one before it (Clark et al., 2020); 1 is off.
            A ViT-S or -B has 13 layers before its classifier, as timm counts, a ResNet-50 17.
    """

    name: Word = "momentum"
    lr: Positive = 5e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weight_decay: NotNegative = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class ScheduleConfig(Section):
    """The learning rate over the steps of training.

    Attributes:
        name: `cosine` falls from `optimizer.lr` to `min_lr` (Loshchilov and Hutter, 2017); `exponential` is multiplied
            by `decay_rate` from epoch to epoch, evenly over the steps; `constant` stays.
        warmup_epochs: Epochs of linear warm-up from `warmup_lr` to `optimizer.lr` before it.
        warmup_lr: What the warm-up begins with.
        min_lr: Of `cosine`.
        decay_rate: Of `exponential`.
    """

    name: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    warmup_lr: NotNegative = 0.0
    min_lr: NotNegative = 0.0
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9
