"""`inspect --sheet` and `preview`, ended at any point: the picture is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.conftest import MakeScenario
from crash.harness import BROKEN_DISK, FULL_DISK, KILLED, KILLED_IN_A_CALL, Disturbance

COMMANDS = {
    "inspect": ("inspect", "data", "--sheet", "sheet.png"),
    "preview": ("preview", "data", "--out", "preview.png"),
    "preview --tokens": ("preview", "data", "--out", "preview.png", "--tokens", "--set", "model.name=test_vit"),
}


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL, FULL_DISK, BROKEN_DISK], ids=str)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_point_literally(name: str, disturbance: Disturbance, dataset: Path, scenario: MakeScenario) -> None:
    findings = scenario(dataset, *COMMANDS[name]).disturb(disturbance)
    findings.check(f"{name}, {disturbance}", least=3)
