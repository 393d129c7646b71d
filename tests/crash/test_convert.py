"""Conversions that end at any point: the data set is the old one or the new one, and the same command ends in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.conftest import CONVERT, MakeScenario
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

FRESH = ("convert", "raw", "data", *CONVERT)

POINTS = {
    "pack": 100,
    "all formats": 140,
    "overwrite": 100,
    "add formats": 40,
    "continue": 60,
    "continue with other settings": 100,
    "a part": 80,
    "merge": 80,
}
"""Fewer than the events of each command: a harness that counts nothing would find nothing."""

STEP = 6
HOW_MANY = [pytest.param(share(STEP), id="a share"), pytest.param(every, id="all", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def commands(
    sketches: Path, scenario: MakeScenario, after: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Scenario]:
    """A function from the names in POINTS to the commands."""
    made: dict[str, Scenario] = {}

    def interrupted() -> Path:
        """A conversion that was killed when one of three chunks was done."""
        first = scenario(sketches, *FRESH)
        first.interrupt(r"os.rename .*journal", occurrence=3)
        return shutil.copytree(first.folder, tmp_path_factory.mktemp("interrupted") / "folder")

    def make(name: str) -> Scenario:
        match name:
            case "pack":
                return scenario(sketches, *FRESH)
            case "all formats":
                return scenario(sketches, *FRESH, "--format", "all")
            case "overwrite":
                before = after(sketches, "convert", "raw", "data", *CONVERT, "--size", "24", "--format", "dali")
                return scenario(before, *FRESH, "--overwrite")
            case "add formats":
                return scenario(after(sketches, *FRESH), "convert", "data", "--format", "all")
            case "continue":
                return scenario(interrupted(), *FRESH)
            case "continue with other settings":
                return scenario(interrupted(), *FRESH, "--seed", "1", "--format", "dali")
            case "a part":
                return scenario(sketches, *FRESH, "--part", "1/2")
            case "merge":
                first = after(sketches, "convert", "raw", "first", *CONVERT, "--part", "1/2")
                both = after(first, "convert", "raw", "second", *CONVERT, "--part", "2/2")
                return scenario(both, "merge", "second", "first", "data")
        raise KeyError(name)

    return lambda name: made.get(name) or made.setdefault(name, make(name))


@pytest.mark.parametrize("keep", HOW_MANY)
@pytest.mark.parametrize("name", POINTS)
def test_a_kill_at_any_event(name: str, keep: Keep, commands: Callable[[str], Scenario]) -> None:
    findings = commands(name).photograph(keep)
    assert findings.points >= POINTS[name]
    findings.check(f"convert, {name}", least=POINTS[name] // STEP)


def test_a_kill_leaves_what_the_copies_show(commands: Callable[[str], Scenario]) -> None:
    assert commands("overwrite").literally(step=10) >= POINTS["overwrite"] // 10


@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize(
    "keep",
    [
        pytest.param(share(STEP, first_of_each), id="a share"),
        pytest.param(first_of_each, id="all", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("name", "disturbance"),
    [
        ("overwrite", KILLED_IN_A_CALL),
        ("overwrite", FULL_DISK),
        ("overwrite", BROKEN_DISK),
        ("add formats", FULL_DISK),
    ],
    ids=str,
)
def test_each_kind_of_call(
    name: str, disturbance: Disturbance, keep: Keep, commands: Callable[[str], Scenario]
) -> None:
    findings = commands(name).disturb(disturbance, keep)
    findings.check(f"convert, {name}, {disturbance}", least=20 if keep is first_of_each else 8)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_faults")
@pytest.mark.parametrize("disturbance", [KILLED, KILLED_IN_A_CALL, FULL_DISK, BROKEN_DISK], ids=str)
@pytest.mark.parametrize("name", POINTS)
def test_every_point_literally(name: str, disturbance: Disturbance, commands: Callable[[str], Scenario]) -> None:
    findings = commands(name).disturb(disturbance)
    findings.check(f"convert, {name}, {disturbance}", least=POINTS[name] // 2)


def test_the_harness_sees_what_changed(dataset: Path) -> None:
    """It would be worth nothing if a damaged data set passed for a whole one."""
    from crash.state import differences, half_made, state_of

    copy = shutil.copytree(dataset, dataset.parent / "damaged")
    assert half_made(copy) == []
    images = copy / "data" / "train.images.u8"
    images.write_bytes(images.read_bytes()[:-1])
    (copy / "data" / ".stray").touch()
    assert len(half_made(copy)) == 1
    assert differences(state_of(copy), state_of(dataset)) == [
        "data/.stray: left over",
        "data/train.images.u8: differs",
    ]
    (copy / "data" / "dataset.json").write_text(json.dumps({}))
    assert len(half_made(copy)) == 1
