"""The loss of the epoch under way, for people who watch: read now and then, and never waited for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import torch

from fastsketch.training.state import TrainState

SECONDS = 1.0
"""Between two readings at least."""


def reading_loss(
    state: TrainState,
    on_loss: Callable[[float], None],
    on_step: Callable[[int, int, int], None] | None,
    clock: Callable[[], float] = monotonic,
) -> Callable[[int, int, int], None]:
    """A callback after each step that reads the loss every second or so, and then calls `on_step`.

    On a GPU a copy is asked for, and what it brought is looked at after one of the next steps. With several processes
    it is the loss of this one's share.

    Args:
        state: Of the training.
        on_loss: Called with the mean training loss of the epoch so far.
        on_step: See `fit`.
        clock: In seconds.
    """
    reading = _Reading(state.loss_sum.device)
    last = clock()

    def after_step(epoch: int, step: int, steps: int) -> None:
        nonlocal last
        if (loss := reading.arrived()) is not None:
            on_loss(loss)
        if not reading.under_way and clock() - last >= SECONDS:
            last = clock()
            reading.ask(state.loss_sum, step)
            if (loss := reading.arrived()) is not None:
                on_loss(loss)
        if on_step:
            on_step(epoch, step, steps)

    return after_step


class _Reading:
    """One number of a device, on its way to the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._host = torch.zeros((), pin_memory=self._event is not None)
        self._steps = 0

    @property
    def under_way(self) -> bool:
        return self._steps > 0

    def ask(self, loss_sum: torch.Tensor, steps: int) -> None:
        """Send for the mean of a sum, float32 [] on the device, over so many steps."""
        self._host.copy_(loss_sum.detach(), non_blocking=self._event is not None)
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(self._device))
        self._steps = steps

    def arrived(self) -> float | None:
        """The mean, once: None as long as it is not there."""
        if not self.under_way or (self._event is not None and not self._event.query()):  # type: ignore[no-untyped-call]
            return None
        mean, self._steps = float(self._host) / self._steps, 0
        return mean
