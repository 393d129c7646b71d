"""Everything that changes in training, as one thing that can be saved and restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

COUNTERS = ("epoch", "steps", "seconds", "best_top1", "best_epoch")


@dataclass
class TrainState:
    """The state between two steps. There is no random state in it: every step's follows from its number.

    Attributes:
        model: Being trained.
        average: Exponential moving average of its weights, if asked for.
        optimizer: Of its weights.
        scaler: Of a float16 loss.
        loss_sum: Sum of the losses of the epoch's steps on this process, float32 [], on the device.
        epoch: Whole epochs done.
        steps: Steps done in the epoch after them.
        seconds: Time spent in those steps.
        best_top1: Best validation top-1 so far, in [0, 1]; -1 before the first.
        best_epoch: Its epoch, counted from 1.
    """

    model: nn.Module
    average: ModelEmaV3 | None
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    loss_sum: Tensor
    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_top1: float = -1.0
    best_epoch: int = 0

    @property
    def shown(self) -> nn.Module:
        """The model that is validated and saved: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    def state_dict(self, loss_sum: float) -> dict[str, Any]:
        """Tensors and plain values only.

        Args:
            loss_sum: Of all processes together; a mean over them, so that it is a sum of losses of whole batches.
        """
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loss_sum": loss_sum,
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` of the same model and recipe; device, precision, memory order may be others."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, values in self.optimizer.state.items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter).copy_(value)  # fused optimizers want the same strides
        if state["scaler"]:  # empty where the loss needed no scale
            self.scaler.load_state_dict(state["scaler"])
        self.loss_sum.fill_(state["loss_sum"])
        for name in COUNTERS:
            setattr(self, name, state[name])

    def next_epoch(self) -> None:
        """The epoch's steps are done and validated."""
        self.epoch, self.steps, self.seconds = self.epoch + 1, 0, 0.0
        self.loss_sum.zero_()
