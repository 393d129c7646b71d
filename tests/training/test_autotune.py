from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shapes import convert_shapes, write_shapes
from torch import nn

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.recipes import load_recipe
from fastsketch.training import tuning
from fastsketch.training.autotune import ExecutionConfig, Trial, tune, tuned

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tuning, "_cache", lambda: tmp_path / "tuned.json")
    return tmp_path / "tuned.json"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["model.name=test_resnet", "data.batch_size=8", "training.device=cpu", *overrides])


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> PackSplit:
    root = tmp_path_factory.mktemp("shapes")
    data = convert_shapes(write_shapes(root / "images"), root / "dataset")
    return PackSplit(data, DatasetMetadata.load(data), "train")


def run(config: Recipe, split: PackSplit) -> tuple[Trial, list[Trial]]:
    trials: list[Trial] = []
    return tune(config, split, classes=3, on_trial=trials.append), trials


def slept(seconds: float) -> Callable[..., Any]:
    """A compiler whose code sleeps and is right."""

    def compiled(function: Any, mode: str) -> Any:
        def later(*arguments: Any) -> Any:
            time.sleep(0 if isinstance(function, nn.Module) else seconds)
            return function(*arguments)

        return later

    return compiled


def test_the_fastest_that_is_right_is_remembered(split: PackSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "compiled", slept(0.2))
    best, trials = run(recipe(), split)
    assert [str(trial.setting) for trial in trials[:2]] == [
        "compile eager, channels last, micro-batches of 8",
        "compile eager, channels first, micro-batches of 8",
    ]
    assert trials[2].setting.compile == "default"
    assert trials[2].seconds is not None
    assert trials[2].seconds > 0.2
    assert best.setting.compile == "eager"
    assert best.seconds == min(trial.seconds for trial in trials if trial.seconds is not None)
    assert tuned(recipe(), 32, CPU) == best.setting


def test_what_fails_or_departs_is_dropped(split: PackSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(function: Any, mode: str) -> Any:
        return function if isinstance(function, nn.Module) else lambda *arguments: function(*arguments) * 2

    def broken(function: Any, mode: str) -> Any:
        raise RuntimeError("no Triton here\nand more")

    for compiled, problem in ((wrong, "its loss is"), (broken, "RuntimeError: no Triton here")):
        monkeypatch.setattr(tuning, "compiled", compiled)
        best, trials = run(recipe(), split)
        [trial] = [trial for trial in trials if trial.setting.compile == "default"]
        assert trial.seconds is None
        assert trial.problem is not None
        assert trial.problem.startswith(problem)
        assert "\n" not in trial.problem
        assert best.setting.compile == "eager"


def test_what_the_user_says_is_not_tuned_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuned(recipe(), 32, CPU) == ExecutionConfig("eager", True, 8)
    monkeypatch.setattr(tuning, "_remembered", lambda: {key: found})
    key = tuning._key(recipe(), 32, CPU)
    found = {"compile": "default", "channels_last": False, "micro_batch": 2}
    assert tuned(recipe(), 32, CPU) == ExecutionConfig("default", False, 2)
    own = recipe("training.compile=eager", "training.channels_last=true", "training.micro_batch=4")
    assert tuned(own, 32, CPU) == ExecutionConfig("eager", True, 4)
    assert tuned(recipe(), 64, CPU) == ExecutionConfig("eager", True, 8)  # another image size


def test_a_damaged_cache_is_as_good_as_none(cache: Path) -> None:
    key = json.dumps(tuning._key(recipe(), 32, CPU))
    whole = {"compile": "default", "channels_last": False, "micro_batch": 2}
    wrong = [5, [], {}, {**whole, "compile": "fast"}, {**whole, "micro_batch": 0}, {**whole, "channels_last": "x"}]
    for text in ("{", "[]", "[" * 100_000, *(f"{{{key}: {json.dumps(values)}}}" for values in wrong)):
        cache.write_text(text)
        assert tuned(recipe(), 32, CPU) == ExecutionConfig("eager", True, 8)
    cache.write_text(f"{{{key}: {json.dumps(whole)}}}")
    assert tuned(recipe(), 32, CPU) == ExecutionConfig(**whole)


def test_a_model_that_does_not_run_is_told(split: PackSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no model"):
        run(recipe("model.name=resnet5O"), split)
    monkeypatch.setattr(tuning, "trial_batch", lambda *_: 1 / 0)
    with pytest.raises(FastSketchError, match="cannot be trained here at 32 px: ZeroDivisionError"):
        run(recipe(), split)


def test_ink_tokens_are_tuned_with_so_many(split: PackSplit) -> None:
    best, _ = run(recipe("model.name=test_vit", "model.tokens=auto", "training.image_sizes=[32]"), split)
    assert best.seconds is not None
