from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fastsketch_benchmarks.speedrun import Race, Result


def test_everything_is_counted() -> None:
    result = Result("warm", 0, 10.0, 200.0, [0.5, 0.7], [90.0, 210.0], [])
    assert result.seconds == 210


def test_a_command_that_fails_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"fastsketch convert nowhere .*: error: nowhere: no such file"):
        Race(tmp_path, quick=True)._run("convert", "nowhere", str(tmp_path / "data"))


@pytest.mark.slow
def test_a_run_goes_from_raw_files_to_top1(
    tmp_path: Path, run_fastsketch: Callable[..., CompletedProcess[str]]
) -> None:
    done = run_fastsketch("bench", "speedrun", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("speedrun-*-quick.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [(each["cache"], each["seed"]) for each in record["runs"]] == [("cold", 0), ("warm", 0), ("warm", 1)]
    for each in record["runs"]:
        assert each["seconds"] == each["convert_seconds"] + each["train_seconds"] > each["reached"][-1] - 1e-6
        assert len(each["top1"]) == len(each["reached"]) == 1
        assert [line for line in each["compiled"] if "compiled (default)" in line] == each["compiled"] != []
    assert record["runs"][0]["top1"] == record["runs"][1]["top1"]  # the same training, compiled anew and not
    assert path.with_suffix(".png").stat().st_size > 10_000
