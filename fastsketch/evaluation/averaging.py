"""The mean of models' weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Average:
    """Sums of the weights of models of one architecture, buffers included, and how many they were.

    Attributes:
        total: By name, float64 on the CPU: the order of the models changes nothing that float32 could show.
        count: Of the models.
    """

    total: dict[str, Tensor]
    count: int

    @classmethod
    def of(cls, model: nn.Module) -> Average:
        """Of one model."""
        return cls({name: tensor.detach().cpu().double() for name, tensor in model.state_dict().items()}, 1)

    def plus(self, model: nn.Module) -> Average:
        """With another one."""
        other = Average.of(model).total
        return Average({name: tensor + other[name] for name, tensor in self.total.items()}, self.count + 1)

    def fill(self, model: nn.Module) -> None:
        """Give the mean to a model, each weight in its own type; counters are rounded down."""
        state = model.state_dict()
        model.load_state_dict({name: (self.total[name] / self.count).to(state[name].dtype) for name in state})
