"""The fuzz suite: a share of its corpus and of its cases; all of the corpus and 300 cases are slow tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a process of its own: it forks, which one with threads must not."""
    paths = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the suite forks and waits as Linux does")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("share",), id="a share of both"),
        pytest.param(("corpus", "all"), id="corpus", marks=pytest.mark.slow),
        pytest.param(("--cases", "300", "--processes", "1"), id="300 cases", marks=pytest.mark.slow),
    ],
)
def test_every_case_ends_in_success_or_in_one_clear_error(arguments: tuple[str, ...]) -> None:
    result = fuzz(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
