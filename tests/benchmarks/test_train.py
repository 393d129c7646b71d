from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run_compares_like_with_like(
    tmp_path: Path, run_fastsketch: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    pytest.importorskip("torchvision")
    done = run_fastsketch("bench", "train", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("train-*.json")
    assert path.with_suffix(".png").stat().st_size > 10_000
    record = json.loads(path.read_text())
    assert record["environment"]["versions"]["torch"]
    *steps, epochs = record["results"].values()
    for step in steps:
        assert {timing["name"] for timing in step["timings"]} == {"fastsketch", "bare step", "augmentation"}
        assert set(step["breakdown_ms"]["fastsketch"]) == {"load", "augment", "forward", "backward", "optimizer"}
        assert step["gflop_a_step"] > 0
        assert len(step["over_bare_and_augmentation_quartiles"]["fastsketch"]) == 3
    names = {"fastsketch", "torchvision ImageFolder", "ImageFolder, resized", "timm loader"}
    assert {timing["name"] for timing in epochs["timings"]} == names
    assert set(epochs["first_losses"]) == names
    assert max(epochs["first_losses"].values()) < 2 * min(epochs["first_losses"].values())
