from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastsketch.training import running_loss
from fastsketch.training.running_loss import reading_loss


class Event:
    """A device's event that is done when the test says so."""

    done = False

    def record(self, stream: object) -> None:
        Event.done = False

    def query(self) -> bool:
        return Event.done


def test_the_loss_is_the_mean_of_the_epoch_so_far_every_second() -> None:
    state, losses, steps = SimpleNamespace(loss_sum=torch.zeros(())), [], []
    now = 0.0
    after = reading_loss(state, losses.append, lambda *step: steps.append(step), clock=lambda: now)
    for step in range(1, 9):
        now += 0.4
        state.loss_sum += step
        after(1, step, 8)
    assert losses == [pytest.approx(2.0), pytest.approx(3.5)]  # of 3 and of 6 steps
    assert steps == [(1, step, 8) for step in range(1, 9)]


def test_a_gpu_is_asked_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch, "zeros", lambda size, pin_memory: torch.empty(size).fill_(0))
    loss_sum = torch.empty(()).fill_(6.0)
    state = SimpleNamespace(loss_sum=SimpleNamespace(device=torch.device("cuda"), detach=lambda: loss_sum))
    losses: list[float] = []
    clock = iter(range(0, 1000, 10))
    after = reading_loss(state, losses.append, None, clock=lambda: next(clock))
    after(1, 3, 9)
    loss_sum.fill_(100.0)  # what comes later is not what was asked for
    after(1, 4, 9)
    assert losses == []
    Event.done = True
    after(1, 5, 9)
    assert losses == [2.0]
    assert running_loss.SECONDS < 10
