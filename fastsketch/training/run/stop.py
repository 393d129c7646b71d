"""When to save and when to stop: by the clock, or because somebody asked."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from fastsketch.training.execution.distributed import World

log = logging.getLogger(__name__)

AGREEMENT_STEPS = 16
"""Several processes must save and stop at the same step, and agreeing on it waits for the device: so often they do."""

AFFORDABLE_SHARE = 0.02
"""Saving after an epoch may take this share of the time."""

Due = Literal["save", "stop"]


class Interrupted(KeyboardInterrupt):
    """Somebody asked to stop, and everything is saved.

    Attributes:
        signal: SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal is gone).
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class StopController:
    """Counts from its making, which is the beginning of training.

    Args:
        max_minutes: After which training should have stopped with everything saved; None for never.
        save_minutes: Between two saves.
        world: All its processes decide as rank 0 does.
        device: That they train on.

    Attributes:
        save_seconds: What the last save took; so much is kept in reserve.
        validation_seconds: What the last validation took; so much is kept in reserve before the next.
    """

    def __init__(self, max_minutes: float | None, save_minutes: float, world: World, device: torch.device) -> None:
        self._started = self._saved = perf_counter()
        self._most = None if max_minutes is None else 60 * max_minutes
        self._between_saves = 60 * save_minutes
        self._world = world
        self._device = device
        self._signal: int | None = None
        self._at_once = False
        self.save_seconds = 0.0
        self.validation_seconds = 0.0

    def due(self, step: int, *, before_validation: bool = False) -> Due | None:
        """What is to be done after so many steps: never waits for the device in a single process."""
        if self._world.size > 1 and step % AGREEMENT_STEPS and not before_validation:
            return None
        if self._world.agreed(self._must_stop(before_validation), self._device):
            return "stop"
        save = perf_counter() - self._saved >= self._between_saves
        return "save" if self._world.agreed(save, self._device) else None

    def due_after_epoch(self) -> Due | None:
        """Between two epochs: save if it is time, or if that costs little of the time since the last save."""
        if self._world.agreed(self._must_stop(before_validation=False), self._device):
            return "stop"
        since = perf_counter() - self._saved
        save = since >= min(self._between_saves, self.save_seconds / AFFORDABLE_SHARE)
        return "save" if self._world.agreed(save, self._device) else None

    def _must_stop(self, before_validation: bool) -> bool:
        if self._signal is not None:
            return True
        reserve = self.save_seconds + (self.validation_seconds if before_validation else 0)
        return self._most is not None and perf_counter() - self._started + reserve >= self._most

    def raise_if_asked(self) -> None:
        """End what somebody, rather than the clock, asked to stop.

        Raises:
            Interrupted: By Ctrl-C, SIGTERM or SIGHUP.
        """
        if self._signal is not None:
            raise Interrupted(self._signal)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around a save."""
        started = perf_counter()
        yield
        self._saved = perf_counter()
        self.save_seconds = self._saved - started

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as the wish to stop after the step; a second one ends at once, as ever.

        A closed terminal's SIGHUP is one too, unless somebody (`nohup`) has it ignored. It often comes twice, from the
        shell and from the kernel: that is no second wish.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
            before[hangup] = signal.SIG_DFL

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            for each, handler in before.items():
                signal.signal(each, signal.SIG_IGN if each == hangup else handler)
            if self._at_once:
                raise Interrupted(number)
            log.info("stopping after this step, with everything saved; again to stop at once")

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self, whether: bool = True) -> Iterator[None]:
        """Around what may take long and changes nothing that has to be saved: a wish to stop does not wait for its end.

        Args:
            whether: False for the contrary, within.

        Raises:
            Interrupted: In the midst of it.
        """
        before, self._at_once = self._at_once, whether
        try:
            if whether:
                self.raise_if_asked()
            yield
            if whether:
                self.raise_if_asked()  # what a library swallowed
        finally:
            self._at_once = before
