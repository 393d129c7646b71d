from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fastsketch_benchmarks.ink_tokens_accuracy import WAYS, Result, summary

Run = Callable[..., CompletedProcess[str]]


def test_what_a_way_has_over_dense_is_taken_seed_by_seed() -> None:
    scores = {"dense": (0.5, 0.6), "ink, equal time": (0.6, 0.8)}
    results = [
        Result(way.name, seed, 2, scores.get(way.name, (0.5, 0.5))[seed], 0.4, 1.0) for seed in (1, 0) for way in WAYS
    ]
    table = summary(results)
    assert list(table) == [way.name for way in WAYS]
    assert table["dense"]["over_dense"] == 0
    assert table["ink, equal time"]["top1"] == pytest.approx(0.7)
    assert table["ink, equal time"]["over_dense"] == pytest.approx(0.15)
    assert table["ink, equal time"]["over_dense_std"] == pytest.approx(0.0707, abs=1e-4)
    assert table["ink, equal time"]["over_dense_all_patches"] == pytest.approx(-0.15)


@pytest.mark.slow
def test_study_trains_every_way_with_every_seed(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "ink_tokens_accuracy", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("ink_tokens_accuracy-*-quick.json")).read_text(encoding="utf-8"))
    assert {(each["way"], each["seed"]) for each in record["runs"]} == {
        (way.name, seed) for way in WAYS for seed in (0, 1)
    }
    assert next(tmp_path.glob("ink_tokens_accuracy-*.png")).stat().st_size > 0
