"""Every part is tried for real, and what is wrong with one hides nothing of the others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import ailing
import pytest
from fastsketch_cli.app import app
from typer.testing import CliRunner, Result

from fastsketch import doctor
from fastsketch.doctor import checks, examine
from fastsketch.doctor.checks import CHECKS, Check
from fastsketch.doctor.examine import Finding, Report
from fastsketch.doctor.probe import speeds
from fastsketch.errors import BackendMissing
from fastsketch.formats.pack import PackSplit

FINDINGS = {
    "well": ("ok", "1.2", False, False),
    "missing": ("missing", "spam is not installed", False, True),
    "broken": ("broken", "RuntimeError: no", True, True),
    "silent": ("broken", "ValueError: ", True, True),
    "killed": ("broken", "its process was killed", True, True),
    "stuck": ("broken", "nothing after 3 s", True, True),
}


def test_whatever_is_wrong_with_a_part_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["fastsketch.doctor.examine"], "PATIENCE", 3.0)
    for needed in (False, True):
        found = examine(checks=[Check(name, getattr(ailing, name), "mend", needed) for name in FINDINGS], probe=False)
        for finding in found.findings:
            state, detail, bad, bad_if_needed = FINDINGS[finding.name]
            remedy = None if state == "ok" else "mend"
            assert finding == Finding(finding.name, state, detail, remedy, needed)  # type: ignore[arg-type]
            assert finding.bad == (bad_if_needed if needed else bad)
        assert not found.healthy


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_each_part_does_its_thing(check: Check) -> None:
    try:
        said = check.work()
    except BackendMissing as error:
        pytest.skip(error.message)
    assert said


@pytest.mark.parametrize("work", [checks.resident, checks.ffcv, checks.dali], ids=["resident", "ffcv", "dali"])
def test_a_loader_that_gives_other_bytes_is_found_out(work: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = PackSplit.__init__

    def damaged(split: PackSplit, *arguments: Any) -> None:
        opened(split, *arguments)
        if sys._getframe(1).f_code.co_name == "_loads":
            split.images = 255 - split.images

    monkeypatch.setattr(PackSplit, "__init__", damaged)
    try:
        with pytest.raises(RuntimeError, match="other bytes than are stored"):
            work()
    except BackendMissing as error:
        pytest.skip(error.message)


def test_speeds_are_of_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastsketch.doctor.probe.SECONDS", 0.01)
    assert all(value > 0 for value in speeds().values())


# ----------------------------------------------------------------------------------------------------------- command


def call(monkeypatch: pytest.MonkeyPatch, findings: list[Finding], *options: str) -> Result:
    def report(*, probe: bool) -> Report:
        environment = {
            "versions": {"torch": "2"},
            "python": "3",
            "gpu": None,
            "cpu": "[x]",
            "cores": 2,
            "memory_gib": 1,
        }
        return Report(environment, findings, {"weights": "/cache"}, 5.0, {"images a second": 12345.0} if probe else {})

    monkeypatch.setattr(doctor, "examine", report)
    return CliRunner().invoke(app, ["doctor", *options])


GOOD = Finding("FFCV", "ok", "1.0", None, False)
MISSING = Finding("DALI", "missing", "no module named 'nvidia.dali'", "pip install '.[dali]'", False)
BROKEN = Finding("model", "broken", "RuntimeError: [red]no", "install torch", True)


def test_it_is_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    result = call(monkeypatch, [GOOD, MISSING, BROKEN])
    assert result.exit_code == 1
    for said in ("[x], 2 cores", "RuntimeError: [red]no", "pip install '.[dali]'", "12,345", "/cache"):
        assert said in result.stdout
    assert len(result.stdout.splitlines()) < 25


def test_what_is_missing_is_no_illness(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, [GOOD, MISSING]).exit_code == 0


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = call(monkeypatch, [GOOD, BROKEN], "--json", "--no-probe")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["healthy"], found["speeds"]) == (False, {})
    assert found["findings"][1] == BROKEN._asdict()
