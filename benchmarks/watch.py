"""What a contender that trains did, and whether all of them did the same."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

from .common import Contender


class Outcome(NamedTuple):
    """What a call of a contender did: images trained on, and the mean of the steps' losses."""

    images: int
    loss: float


class Watch:
    """Sees to it that contenders do the same work: as many images, and losses of the same order.

    Attributes:
        first_losses: The mean loss of each one's first call, from the same weights.
    """

    def __init__(self) -> None:
        self.first_losses: dict[str, float] = {}
        self._calls: dict[str, list[Outcome]] = {}
        self._images: dict[str, int] = {}

    def contender(self, name: str, train: Callable[[], Outcome], images: int) -> Contender:
        """A contender whose every call is watched."""
        calls = self._calls[name] = []
        self._images[name] = images
        return Contender(name, lambda: calls.append(train()), images)

    def check(self) -> None:
        """Raises AssertionError where one did something else."""
        self.first_losses = {name: calls[0].loss for name, calls in self._calls.items()}
        usual = statistics.median(self.first_losses.values())
        for name, calls in self._calls.items():
            if any(call.images != self._images[name] for call in calls):
                raise AssertionError(f"{name} did not train on {self._images[name]} images")
            if not usual / 2 < calls[0].loss < usual * 2 or not all(math.isfinite(call.loss) for call in calls):
                raise AssertionError(f"{name}: losses {[call.loss for call in calls]}, of others {usual}")
