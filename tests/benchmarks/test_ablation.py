from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fastsketch_benchmarks.ablation import RUNGS, Result, summary

Run = Callable[..., CompletedProcess[str]]


def test_a_rung_adds_what_it_has_over_the_one_below_seed_by_seed() -> None:
    scores = {"none": (0.5, 0.6), "affine": (0.6, 0.8)}
    results = [
        Result(rung, seed, top1, top1 + 0.1, 1.0, 2.0, 3.0)
        for seed in (1, 0)
        for rung in RUNGS
        for top1 in [scores.get(rung, (0.7, 0.7))[seed]]
    ]
    table = summary(results)
    assert list(table) == list(RUNGS)
    assert "adds" not in table["none"]
    assert table["affine"]["top1"] == pytest.approx(0.7)
    assert table["affine"]["adds"] == pytest.approx(0.15)
    assert table["affine"]["adds_std"] == pytest.approx(0.0707, abs=1e-4)
    assert table["+ MixUp, CutMix"]["adds"] == pytest.approx(0)
    assert table["affine"]["best_top1"] == pytest.approx(0.8)


@pytest.mark.slow
def test_ablation_trains_every_rung_with_every_seed(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "ablation", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("ablation-*.json")).read_text(encoding="utf-8"))
    assert {(each["rung"], each["seed"]) for each in record["runs"]} == {
        (rung, seed) for rung in RUNGS for seed in (0, 1)
    }
    assert next(tmp_path.glob("ablation-*.png")).stat().st_size > 0
