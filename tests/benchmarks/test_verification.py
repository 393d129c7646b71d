from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run_pairs_every_contender_with_its_verified_twin(
    tmp_path: Path, run_fastsketch: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_fastsketch("bench", "verification", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("verification-*.json")
    assert path.with_suffix(".png").stat().st_size > 10_000
    record = json.loads(path.read_text())
    names = {timing["name"] for timing in record["timings"]}
    assert {"resident", "pack", "training"} <= set(record["costs"])
    assert names == {*record["costs"], *(f"{name}, verified" for name in record["costs"])}
