"""Trainings that end at any point: what the run directory shows is whole, the same command ends in the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.conftest import TRAIN, MakeScenario
from crash.harness import (
    BROKEN_DISK,
    FULL_DISK,
    KILLED,
    KILLED_IN_A_CALL,
    Disturbance,
    Keep,
    Scenario,
    every,
    first_of_each,
    share,
)

COMMAND = ("train", "data", "--out", "run", *TRAIN)

POINTS = {"first": 110, "resumed": 90, "finished": 10}
"""Fewer than the events of each: a run's first session, its second, and one that finds nothing left to train."""

STEP = 6
HOW_MANY = [pytest.param(share(STEP), id="a share"), pytest.param(every, id="all", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def commands(
    dataset: Path, trained: Path, scenario: MakeScenario, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Scenario]:
    """A function from the names in POINTS to the commands."""
    made: dict[str, Scenario] = {}

    def make(name: str) -> Scenario:
        first = scenario(dataset, *COMMAND)
        if name == "first":
            return first
        if name == "finished":
            return scenario(trained, *COMMAND)
        first.interrupt(r"os.rename .*resume.*pt run/resume.pt", occurrence=2)  # in the last step of the first epoch
        return scenario(shutil.copytree(first.folder, tmp_path_factory.mktemp("interrupted") / "folder"), *COMMAND)

    return lambda name: made.get(name) or made.setdefault(name, make(name))


@pytest.mark.parametrize("keep", HOW_MANY)
@pytest.mark.parametrize("name", POINTS)
def test_a_kill_at_any_event(name: str, keep: Keep, commands: Callable[[str], Scenario]) -> None:
    findings = commands(name).photograph(keep)
    assert findings.points >= POINTS[name]
    findings.check(f"train, {name}", least=POINTS[name] // STEP)


def test_sessions_end_where_a_single_one_does(commands: Callable[[str], Scenario]) -> None:
    """What an interrupted run ends in is what an undisturbed one ends in."""
    assert commands("resumed").expected == commands("first").expected == commands("finished").expected


def test_a_kill_leaves_what_the_copies_show(commands: Callable[[str], Scenario]) -> None:
    assert commands("first").literally(step=20) >= POINTS["first"] // 20


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize(
    ("disturbance", "keep", "least"),
    [
        pytest.param(FULL_DISK, share(4, first_of_each), 10, id="full disk, a share"),
        *(
            pytest.param(each, first_of_each, 30, id=str(each), marks=pytest.mark.slow)
            for each in (FULL_DISK, KILLED_IN_A_CALL, BROKEN_DISK)
        ),
    ],
)
def test_each_kind_of_call(
    disturbance: Disturbance, keep: Keep, least: int, commands: Callable[[str], Scenario]
) -> None:
    """M1, M2: one line that names the file, whatever was to be written; the same command goes on."""
    findings = commands("first").disturb(disturbance, keep)
    findings.check(f"train, {disturbance}", least=least)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL, FULL_DISK, BROKEN_DISK], ids=str)
@pytest.mark.parametrize("name", POINTS)
def test_every_point_literally(name: str, disturbance: Disturbance, commands: Callable[[str], Scenario]) -> None:
    findings = commands(name).disturb(disturbance)
    findings.check(f"train, {name}, {disturbance}", least=POINTS[name] // 2)
