"""`inspect --sheet` and `preview`, ended at any point: the picture is whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from crash.conftest import MakeScenario
from crash.harness import BROKEN_DISK, FULL_DISK, KILLED, KILLED_IN_A_CALL, Disturbance, Scenario

COMMANDS = {
    "inspect": ("inspect", "data", "--sheet", "sheet.png"),
    "preview": ("preview", "data", "--out", "preview.png"),
    "preview --tokens": ("preview", "data", "--out", "preview.png", "--tokens", "--set", "model.name=test_vit"),
}


@pytest.fixture(scope="module")
def commands(dataset: Path, scenario: MakeScenario) -> Callable[[str], Scenario]:
    """A function from the names in COMMANDS to the commands."""
    made = {name: scenario(dataset, *arguments) for name, arguments in COMMANDS.items()}
    return made.__getitem__


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL, FULL_DISK, BROKEN_DISK], ids=str)
@pytest.mark.parametrize("name", ["inspect", "preview", pytest.param("preview --tokens", marks=pytest.mark.slow)])
def test_every_point_literally(name: str, disturbance: Disturbance, commands: Callable[[str], Scenario]) -> None:
    commands(name).disturb(disturbance).check(f"{name}, {disturbance}", least=4)
