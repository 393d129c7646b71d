"""Evaluations that end at any point: tables and pictures are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.conftest import MakeScenario
from crash.harness import BROKEN_DISK, FULL_DISK, KILLED, KILLED_IN_A_CALL, Disturbance

COMMAND = ("evaluate", "run", "--split", "val", "--device", "cpu")


def test_a_kill_at_any_event(trained: Path, scenario: MakeScenario) -> None:
    findings = scenario(trained, *COMMAND).photograph()
    findings.check("evaluate", least=15)


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [FULL_DISK, BROKEN_DISK], ids=str)
def test_a_failing_disk(disturbance: Disturbance, trained: Path, scenario: MakeScenario) -> None:
    findings = scenario(trained, *COMMAND).disturb(disturbance)
    findings.check(f"evaluate, {disturbance}", least=10)


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL], ids=str)
def test_every_point_literally(disturbance: Disturbance, trained: Path, scenario: MakeScenario) -> None:
    findings = scenario(trained, *COMMAND).disturb(disturbance)
    findings.check(f"evaluate, {disturbance}", least=15)
