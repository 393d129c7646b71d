from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fastsketch.config import OptimizerConfig, ScheduleConfig
from fastsketch.errors import ConfigError
from fastsketch.training.optim import create_optimizer, create_schedule


def rates(config: ScheduleConfig, *, lr: float, epochs: int, steps_per_epoch: int) -> list[float]:
    optimizer = create_optimizer(nn.Linear(2, 2), OptimizerConfig(lr=lr))
    schedule = create_schedule(optimizer, config, epochs=epochs, steps_per_epoch=steps_per_epoch)
    lrs = []
    for step in range(epochs * steps_per_epoch):
        schedule.step_update(step)
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs


def test_the_default_is_the_reports_plain_sgd_with_momentum() -> None:
    optimizer = create_optimizer(nn.Linear(2, 2), OptimizerConfig())
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (5e-3, 0.5, False)


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = create_optimizer(model, OptimizerConfig(name="adamw", weight_decay=0.1))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert [p.shape for p in decayed] == [(4, 4)]


def test_cosine_without_warm_up_is_the_papers() -> None:
    lrs = rates(ScheduleConfig(min_lr=0.1), lr=1.0, epochs=4, steps_per_epoch=5)
    assert lrs == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])


def test_warm_up_is_linear_and_comes_before_the_cosine() -> None:
    lrs = rates(ScheduleConfig(warmup_epochs=2, warmup_lr=0.1), lr=1.1, epochs=4, steps_per_epoch=5)
    assert lrs[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert lrs[10] == pytest.approx(1.1)
    assert lrs[10:] == sorted(lrs[10:], reverse=True)
    assert lrs[-1] < 0.03


def test_an_unknown_optimizer_brings_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'adamw'"):
        create_optimizer(nn.Linear(2, 2), OptimizerConfig(name="adamww"))
