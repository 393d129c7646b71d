from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["augment", "convert", "ink_tokens", "loaders", "predict"])
def test_a_benchmark_of_speed_leaves_its_timings_and_a_plot(
    name: str, tmp_path: Path, run_fastsketch: Callable[..., CompletedProcess[str]]
) -> None:
    pytest.importorskip("torchvision")
    if name == "predict":
        pytest.importorskip("onnxscript")
    done = run_fastsketch("bench", name, "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*-quick.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["benchmark"] == name
    names = [timing["name"] for timing in record["timings"]]
    assert len(names) == len(set(names)) > 2
    assert all(timing["images_per_second"] > 0 for timing in record["timings"])
    assert path.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.slow
def test_growth_is_measured_and_extrapolated(
    tmp_path: Path, shared_data: Path, run_fastsketch: Callable[..., CompletedProcess[str]]
) -> None:
    done = run_fastsketch("bench", "scale", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("scale-*-quick.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [growth["drawings"] for growth in record["growths"]] == [1_000, 10_000]
    assert record["growths"][1]["bytes"] > 9 * record["growths"][0]["bytes"]
    assert {(row["size"], row["machines"]) for row in record["extrapolated"]} == {
        (size, machines) for size in (64, 128) for machines in (1, 8, 64)
    }
    assert path.with_suffix(".png").stat().st_size > 10_000
