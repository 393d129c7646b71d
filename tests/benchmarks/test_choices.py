from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fastsketch_benchmarks.choices import RECIPE, WAYS, Result, summary

Run = Callable[..., CompletedProcess[str]]


def test_a_way_is_compared_with_the_recipe_seed_by_seed() -> None:
    tops = {RECIPE: (0.5, 0.7), "one size": (0.6, 0.9)}
    results = [
        Result(way, seed, top1, 10.0 + seed)
        for seed in (1, 0)
        for way in WAYS
        for top1 in [tops.get(way, (0.4, 0.4))[seed]]
    ]
    table = summary(results)
    assert list(table) == list(WAYS)
    assert table[RECIPE]["over"] == table[RECIPE]["over_std"] == 0
    assert table["one size"]["top1"] == pytest.approx(0.75)
    assert table["one size"]["std"] == pytest.approx(0.2121, abs=1e-4)
    assert table["one size"]["over"] == pytest.approx(0.15)
    assert table["one size"]["over_std"] == pytest.approx(0.0707, abs=1e-4)
    assert table["one size"]["seconds"] == pytest.approx(10.5)


@pytest.mark.slow
def test_choices_trains_in_every_way_with_every_seed(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "choices", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("choices-*.json")).read_text(encoding="utf-8"))
    assert {(each["way"], each["seed"]) for each in record["runs"]} == {(way, seed) for way in WAYS for seed in (0, 1)}
    assert next(tmp_path.glob("choices-*.png")).stat().st_size > 0
