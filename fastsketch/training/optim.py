"""Optimizer and learning-rate schedule, from timm's factories."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, list_optimizers
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from fastsketch.config import OptimizerConfig, ScheduleConfig
from fastsketch.errors import ConfigError
from fastsketch.models.zoo import layer_matcher

FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""What torch has one kernel for. On a GPU these alone take the loss scale and the flag for infinities themselves, so
that `GradScaler.step` does not wait for the device; on two CPU cores a step takes a quarter (AdamW) to a half (SGD)."""


def create_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """timm's optimizer of that name; biases and normalisation layers are not decayed.

    With `layer_decay` d the classifier learns at the full rate and a layer that is n layers before it at d^n times
    it (Clark et al., ELECTRA, 2020, section 3.1; Bao et al., BEiT, 2022): each parameter group's `lr` is the full
    rate, which the schedule multiplies by its `lr_scale`.

    Args:
        model: On the device where it is to be trained, nothing frozen yet.
        config: The optimizer.

    Raises:
        ConfigError: timm knows no such optimizer, or lacks what it needs, or the model's layers are not known.
    """
    names = list_optimizers()
    if config.name not in names:
        near = difflib.get_close_matches(config.name, names, n=1)
        raise ConfigError(f"no optimizer '{config.name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    arguments: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "momentum": config.momentum}
    devices = {parameter.device.type for parameter in model.parameters()}
    if get_optimizer_class(config.name, bind_defaults=False) in FUSED and devices <= {"cuda", "cpu"}:
        arguments["fused"] = True
    if config.layer_decay < 1:
        layer_matcher(model, "optimizer.layer_decay at 1")
        arguments["layer_decay"] = config.layer_decay
    try:
        optimizer: Optimizer = create_optimizer_v2(model, opt=config.name, **arguments)
    except (AssertionError, ImportError) as error:
        raise ConfigError(f"optimizer '{config.name}' cannot be used here: {error}") from error
    if isinstance(optimizer, torch.optim.SGD) and config.momentum:
        # It starts from none, and torch's fused step fails where some parameters, frozen at first, have none yet. One
        # of zero is the same.
        for parameter in model.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def create_schedule(optimizer: Optimizer, config: ScheduleConfig, *, epochs: int, steps_per_epoch: int) -> Scheduler:
    """The learning rate as a function of the step alone; call `step_update(step)` before every optimizer step.

    With p the steps after the warm-up and n their number, over all epochs: `cosine` is
    min_lr + (lr - min_lr) / 2 · (1 + cos(π p / n)) (Loshchilov and Hutter, SGDR, 2017, equation 5), `exponential` is
    lr · decay_rate^(p / steps_per_epoch), `constant` is lr. A resumed run may have more epochs: the schedule then goes
    on as if it had had them from the start.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    shared: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": config.warmup_lr,
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    length = epochs * steps_per_epoch - warmup
    if config.name == "cosine" and length > 1:  # of a single step it is the beginning, about which timm warns
        return CosineLRScheduler(optimizer, t_initial=length, lr_min=config.min_lr, **shared)
    # timm's step schedule with steps of one optimizer step.
    rate = config.decay_rate ** (1 / steps_per_epoch) if config.name == "exponential" else 1.0
    return StepLRScheduler(optimizer, decay_t=1, decay_rate=rate, **shared)


def highest_lr(optimizer: Optimizer) -> float:
    """That of its groups, of which `layer_decay` makes smaller ones for the backbone's layers."""
    return float(max(group["lr"] for group in optimizer.param_groups))
