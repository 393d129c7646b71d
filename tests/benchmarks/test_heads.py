from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fastsketch_benchmarks.head_init import ALONE, WAYS, Result, summary

Run = Callable[..., CompletedProcess[str]]


def test_what_a_way_has_over_a_random_head_is_taken_seed_by_seed() -> None:
    scores = {"random": (0.3, 0.5), "ridge, norm by the batch": (0.2, 0.4), "ridge": (0.6, 0.7)}
    results = [Result(way, 2, seed, found[seed], 10.0 + seed) for seed in (1, 0) for way, found in scores.items()]
    table = summary([Result(ALONE, 0, 0, 0.55, 4.0), *results])
    assert list(table) == [ALONE, *WAYS]
    assert table[ALONE] == {0: {"top1": 0.55, "seconds": 4.0}}
    frozen = table["ridge"][2]
    assert frozen["top1"] == pytest.approx(0.65)
    assert frozen["over"] == pytest.approx(0.25)
    assert frozen["over_std"] == pytest.approx(0.0707, abs=1e-4)
    assert frozen["seconds"] == 10.5
    assert table["ridge, norm by the batch"][2]["over_std"] == pytest.approx(0)


@pytest.mark.slow
def test_every_way_is_trained_with_every_seed(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "head_init", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("head_init-*.json")).read_text(encoding="utf-8"))
    found = {(each["way"], each["epochs"], each["seed"]) for each in record["runs"]}
    assert found == {(ALONE, 0, 0)} | {(way, 1, seed) for way in WAYS for seed in (0, 1)}
    assert next(tmp_path.glob("head_init-*.png")).stat().st_size > 0
