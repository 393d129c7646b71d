"""Everything that changes in training, as one thing that can be saved and restored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastsketch.config import TrainingConfig
from fastsketch.training.ema import Ema
from fastsketch.training.optim import FUSED

LARGEST = 1e30
"""No setting of an optimizer is so large, not infinite, and a number."""

COUNTERS = ("epoch", "steps", "seconds", "best_top1", "best_epoch")


@dataclass
class TrainState:
    """The state between two steps. There is no random state in it: every step's follows from its number.

    Attributes:
        model: Being trained.
        ema: Exponential moving average of its weights, if asked for.
        optimizer: Of its weights.
        scaler: Of a float16 loss.
        loss_sum: Sum of the losses of the epoch's steps on this process, float32 [], on the device.
        epoch: Whole epochs done.
        steps: Steps done in the epoch after them.
        seconds: Time spent in those steps.
        best_top1: Best validation top-1 so far, in [0, 1]; -1 before the first.
        best_epoch: Its epoch, counted from 1.
        compiled: On a CPU, whether steps were compiled where that was tried, by mode and phase.
    """

    model: nn.Module
    ema: Ema | None
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    loss_sum: Tensor
    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_top1: float = -1.0
    best_epoch: int = 0
    compiled: dict[str, bool] = field(default_factory=dict)

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated and saved: the average, if there is one."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self, loss_sum: float) -> dict[str, Any]:
        """Tensors and plain values only.

        Args:
            loss_sum: Of all processes together; a mean over them, so that it is a sum of losses of whole batches.
        """
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loss_sum": loss_sum,
            "compiled": dict(self.compiled),
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of the same model and recipe; device, precision, memory order may be others.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError: It is no such state; this one is
                good for nothing then but to load another.
        """
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        _load_optimizer(self.optimizer, state["optimizer"])
        if state["scaler"]:  # empty where the loss needed no scale
            self.scaler.load_state_dict(state["scaler"])
        self.loss_sum.fill_(state["loss_sum"])
        self.compiled = dict(state.get("compiled", {}))  # of earlier versions there is none
        for name in COUNTERS:
            setattr(self, name, state[name])

    def is_over(self, config: TrainingConfig) -> bool:
        """Whether there is no epoch to come."""
        return is_over(self.epoch, self.best_epoch, config)

    def next_epoch(self, top1: float | None) -> bool:
        """The epoch's steps are done; validated, it has this top-1 in [0, 1], and None if it was not.

        Returns:
            Whether it is the best epoch so far, which each one is before the first that is validated.
        """
        self.epoch, self.steps, self.seconds = self.epoch + 1, 0, 0.0
        self.loss_sum.zero_()
        if top1 is None:
            return not self.best_epoch
        improved = top1 > self.best_top1
        if improved:
            self.best_top1, self.best_epoch = top1, self.epoch
        return improved


def is_over(epoch: int, best_epoch: int, config: TrainingConfig) -> bool:
    """Whether no epoch comes after so many: all are done, or the best one (0 for none) is too long ago."""
    waited = epoch - best_epoch if best_epoch and config.validates(epoch) else 0  # an epoch unseen may be better
    return epoch >= config.epochs or (config.patience is not None and waited >= config.patience)


def _load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """torch looks at the number of groups and of their parameters only, and fails at the next step over the rest."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    for ours, group in zip(settings, saved["param_groups"], strict=True):  # before they take the place of ours
        for key, value in ours.items():
            if key in group and not _alike(value, group[key]):
                raise ValueError(f"the optimizer's {key} cannot be what it is")
    begun = {parameter for parameter, values in optimizer.state.items() if values}  # SGD's momentum is there at once
    optimizer.load_state_dict(saved)
    if not begun <= {parameter for parameter, values in optimizer.state.items() if values}:
        raise ValueError("the optimizer has no state of some weights")
    if isinstance(optimizer, FUSED) and len({frozenset(values) for values in optimizer.state.values() if values}) > 1:
        raise ValueError("the optimizer's state is another from weight to weight")
    for ours, group in zip(settings, optimizer.param_groups, strict=True):
        if missing := ours.keys() - group.keys():
            raise ValueError(f"the optimizer has no {min(missing)}")
    known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter, values in optimizer.state.items():
        if parameter not in known:
            raise ValueError("the optimizer has a state of unknown weights")
        for key, value in values.items():
            if not isinstance(value, Tensor):
                if isinstance(optimizer, FUSED):
                    raise ValueError(f"the optimizer has a {key} that is no tensor")
                continue
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter).copy_(value)  # fused optimizers want the same strides
            elif isinstance(optimizer, FUSED) and value.ndim:
                raise ValueError(f"the optimizer has a {key} of {tuple(value.shape)} for {tuple(parameter.shape)}")


def _alike(ours: object, saved: object) -> bool:
    """Whether a saved setting is of our setting's type; what the device decides (`fused`) is true, false or None."""
    if isinstance(ours, list | tuple):
        return isinstance(saved, list | tuple) and len(ours) == len(saved) and all(map(_alike, ours, saved))
    if ours is None or isinstance(ours, bool):
        return saved is None or isinstance(saved, bool)
    if isinstance(ours, float | int):
        return isinstance(saved, float | int) and not isinstance(saved, bool) and -LARGEST < saved < LARGEST
    return True
