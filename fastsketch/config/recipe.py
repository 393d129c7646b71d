"""A whole training run as one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, model_validator

from fastsketch import atomic
from fastsketch.config.augment import AugmentConfig
from fastsketch.config.data import DataConfig
from fastsketch.config.model import ModelConfig
from fastsketch.config.optim import OptimizerConfig, ScheduleConfig
from fastsketch.config.section import Section
from fastsketch.config.training import EvaluationConfig, TrainingConfig


class Recipe(Section):
    """A whole training run: one of these, resolved, is the `config.yaml` of a run.

    Attributes:
        description: One line for `fastsketch recipes`.
    """

    description: Annotated[str, Field(max_length=1000)] = ""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _fit_each_other(self) -> Recipe:
        if self.augment.mixes and self.data.batch_size < 2:
            raise ValueError("augment.mixup and augment.cutmix need data.batch_size of 2 or more: partners to mix with")
        if self.model.head_init != "random" and self.model.head_hidden:
            raise ValueError(
                f"model.head_init={self.model.head_init} is of a linear head: leave model.head_hidden empty"
            )
        if not self.training.epochs and self.model.head_init != "ridge":
            raise ValueError("training.epochs=0 trains nothing: with model.head_init=ridge the classifier is solved")
        return self

    def save(self, path: Path) -> None:
        """Write the recipe in full as YAML, atomically."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic.write_text(path, text)
