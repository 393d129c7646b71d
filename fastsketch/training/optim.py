"""Optimizer and learning-rate schedule, from timm's factories."""

from __future__ import annotations

import difflib

from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from fastsketch.config import OptimizerConfig, ScheduleConfig
from fastsketch.errors import ConfigError


def create_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """timm's optimizer of that name; biases and normalisation layers are not decayed.

    Raises:
        ConfigError: timm knows no such optimizer, or lacks what it needs.
    """
    names = list_optimizers()
    if config.name not in names:
        near = difflib.get_close_matches(config.name, names, n=1)
        raise ConfigError(f"no optimizer '{config.name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    try:
        optimizer: Optimizer = create_optimizer_v2(
            model, opt=config.name, lr=config.lr, weight_decay=config.weight_decay, momentum=config.momentum
        )
    except (AssertionError, ImportError) as error:
        raise ConfigError(f"optimizer '{config.name}' cannot be used here: {error}") from error
    return optimizer


def create_schedule(optimizer: Optimizer, config: ScheduleConfig, *, epochs: int, steps_per_epoch: int) -> Scheduler:
    """Cosine over all steps after a linear warm-up (Loshchilov and Hutter, 2017); call `step_update` every step."""
    warmup = round(config.warmup_epochs * steps_per_epoch)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, epochs * steps_per_epoch - warmup),
        lr_min=config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=config.warmup_lr,
        warmup_prefix=True,
        t_in_epochs=False,
    )
