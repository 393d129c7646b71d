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
    steps, epochs = record["results"], {}
    for title in list(steps):
        if title.startswith("an epoch"):
            epochs[title] = steps.pop(title)
    for tables in (steps, epochs):
        assert [table["compiled"] for table in tables.values()] == [False, True]
        assert [title.rsplit(", ")[-1] for title in tables] == ["eager", "compiled"]
    for step in steps.values():
        assert {timing["name"] for timing in step["timings"]} == {"fastsketch", "bare step", "augmentation"}
        assert set(step["breakdown_ms"]) == {"load", "augment", "forward", "backward", "optimizer"}
        assert all(milliseconds > 0 for milliseconds in step["breakdown_ms"].values())
        assert step["gflop_a_step"] > 0
        assert len(step["over_bare_and_augmentation_quartiles"]) == 3
    eager, compiled = ({timing["name"] for timing in epoch["timings"]} for epoch in epochs.values())
    files = {"fastsketch", "torchvision ImageFolder", "ImageFolder, resized", "timm"}
    assert eager == {*files, "tensor, Kornia"}
    assert compiled == {*files, "tensor, Kornia, torch.compile"}
    for epoch, names in zip(epochs.values(), (eager, compiled), strict=True):
        assert set(epoch["first_losses"]) == names
        assert max(epoch["first_losses"].values()) < 2 * min(epoch["first_losses"].values())
