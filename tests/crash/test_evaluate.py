"""Evaluations that end at any point: tables and pictures are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.conftest import MakeScenario
from crash.harness import BROKEN_DISK, FULL_DISK, KILLED, KILLED_IN_A_CALL, Disturbance, Keep, Scenario, every, share


@pytest.fixture(scope="module")
def command(trained: Path, scenario: MakeScenario) -> Scenario:
    """`evaluate` of a finished run."""
    return scenario(trained, "evaluate", "run", "--split", "val", "--device", "cpu")


def test_a_kill_at_any_event(command: Scenario) -> None:
    command.photograph().check("evaluate", least=15)


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("keep", [pytest.param(share(4), id="a share"), pytest.param(every, marks=pytest.mark.slow)])
@pytest.mark.parametrize("disturbance", [FULL_DISK, BROKEN_DISK], ids=str)
def test_a_failing_disk(disturbance: Disturbance, keep: Keep, command: Scenario) -> None:
    command.disturb(disturbance, keep).check(f"evaluate, {disturbance}", least=10 if keep is every else 5)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL], ids=str)
def test_a_kill_at_every_point_literally(disturbance: Disturbance, command: Scenario) -> None:
    command.disturb(disturbance).check(f"evaluate, {disturbance}", least=15)
