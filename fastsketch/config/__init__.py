"""Every choice a user can make, one model a section, with the defaults.

All errors of a configuration are reported at once, each unknown key with the nearest valid one.
"""

from __future__ import annotations

from fastsketch.config.augment import AugmentConfig
from fastsketch.config.data import ConvertConfig, DataConfig
from fastsketch.config.model import MOST_PATCHES, ModelConfig
from fastsketch.config.optim import OptimizerConfig, ScheduleConfig
from fastsketch.config.recipe import Recipe
from fastsketch.config.report import validated
from fastsketch.config.training import EvaluationConfig, TrainingConfig

__all__ = [
    "MOST_PATCHES",
    "AugmentConfig",
    "ConvertConfig",
    "DataConfig",
    "EvaluationConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TrainingConfig",
    "validated",
]
