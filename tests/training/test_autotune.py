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
from fastsketch.models.ink_tokens import InkPatchEmbed, Selection
from fastsketch.recipes import load_recipe
from fastsketch.training import tokens as resolution
from fastsketch.training import trainer
from fastsketch.training.autotune import TIMED, WARMUP, Trial, autotune
from fastsketch.training.execution import config as executions
from fastsketch.training.execution.compile import TRIALS
from fastsketch.training.execution.config import ExecutionConfig, resolve_execution
from fastsketch.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(executions, "_cache", lambda: tmp_path / "tuned.json")
    return tmp_path / "tuned.json"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["model.name=test_resnet", "data.batch_size=8", "training.device=cpu", *overrides])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def run(config: Recipe, data: Path) -> tuple[Trial, list[Trial]]:
    trials: list[Trial] = []
    located = config.model_copy(update={"data": config.data.model_copy(update={"path": data})})
    return autotune(located, DatasetMetadata.load(data), on_trial=trials.append), trials


def slept(seconds: float) -> Callable[..., Any]:
    """A compiler whose code sleeps and is right."""

    def compiled(function: Any, mode: str) -> Any:
        def later(*arguments: Any) -> Any:
            time.sleep(0 if isinstance(function, nn.Module) else seconds)
            return function(*arguments)

        return later

    return compiled


def test_the_fastest_that_is_right_is_remembered(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "compiled", slept(0.2))
    best, trials = run(recipe(), data)
    assert [str(trial.execution) for trial in trials[:2]] == [
        "compile eager, channels last, micro-batches of 8",
        "compile eager, channels first, micro-batches of 8",
    ]
    assert trials[2].execution.compile == "default"
    assert trials[2].seconds is not None
    assert trials[2].seconds > 0.2
    assert best.execution.compile == "eager"
    assert best.seconds == min(trial.seconds for trial in trials if trial.seconds is not None)
    assert resolve_execution(recipe(), 32, CPU) == best.execution


def test_what_fails_or_departs_is_dropped(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(function: Any, mode: str) -> Any:
        return function if isinstance(function, nn.Module) else lambda *arguments: function(*arguments) * 2

    def broken(function: Any, mode: str) -> Any:
        raise RuntimeError("no Triton here\nand more")

    for compiled, problem in ((wrong, "its loss is"), (broken, "RuntimeError: no Triton here")):
        monkeypatch.setattr(trainer, "compiled", compiled)
        best, trials = run(recipe(), data)
        [trial] = [trial for trial in trials if trial.execution.compile == "default"]
        assert trial.seconds is None
        assert trial.problem is not None
        assert trial.problem.startswith(problem)
        assert "\n" not in trial.problem
        assert best.execution.compile == "eager"


def test_what_the_user_says_is_not_tuned_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_execution(recipe(), 32, CPU) == ExecutionConfig("eager", True, 8)
    monkeypatch.setattr(executions, "_remembered", lambda: {key: found})
    key = executions._key(recipe(), 32, CPU)
    found = {"compile": "default", "channels_last": False, "micro_batch": 2}
    assert resolve_execution(recipe(), 32, CPU) == ExecutionConfig("default", False, 2)
    own = recipe("training.compile=eager", "training.channels_last=true", "training.micro_batch=4")
    assert resolve_execution(own, 32, CPU) == ExecutionConfig("eager", True, 4)
    assert resolve_execution(recipe(), 64, CPU) == ExecutionConfig("eager", True, 8)  # another image size
    without = recipe("model.paper_token=false")
    assert resolve_execution(without, 32, CPU) == ExecutionConfig("eager", True, 8)  # another sequence


def test_a_damaged_cache_is_as_good_as_none(cache: Path) -> None:
    key = json.dumps(executions._key(recipe(), 32, CPU))
    whole = {"compile": "default", "channels_last": False, "micro_batch": 2}
    wrong = [5, [], {}, {**whole, "compile": "fast"}, {**whole, "micro_batch": 0}, {**whole, "channels_last": "x"}]
    for text in ("{", "[]", "[" * 100_000, *(f"{{{key}: {json.dumps(values)}}}" for values in wrong)):
        cache.write_text(text)
        assert resolve_execution(recipe(), 32, CPU) == ExecutionConfig("eager", True, 8)
    cache.write_text(f"{{{key}: {json.dumps(whole)}}}")
    assert resolve_execution(recipe(), 32, CPU) == ExecutionConfig(**whole)


def test_a_model_that_does_not_run_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no model"):
        run(recipe("model.name=resnet5O"), data)
    monkeypatch.setattr(trainer, "trial_batch", lambda *_: 1 / 0)
    with pytest.raises(FastSketchError, match="cannot be trained here at 32 px: ZeroDivisionError"):
        run(recipe(), data)


def test_ink_tokens_are_tuned_with_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is timed with the number that training would take, for which the images are looked at once."""
    data = convert_shapes(write_shapes(tmp_path / "images"), tmp_path / "data", size=96)
    config = recipe("model.name=test_vit", "model.tokens=auto")
    located = config.model_copy(update={"data": config.data.model_copy(update={"path": data})})
    tokens = Trainer(located, DatasetMetadata.load(data), CPU).recipe.model.tokens
    assert isinstance(tokens, int)
    seen: list[int] = []
    looked: list[object] = []
    choose, inked = InkPatchEmbed.choose, resolution._inked

    def chosen(patches: InkPatchEmbed, images: torch.Tensor, number: int) -> Selection:
        seen.append(number)
        return choose(patches, images, number)

    monkeypatch.setattr(InkPatchEmbed, "choose", chosen)
    monkeypatch.setattr(resolution, "_inked", lambda *arguments: (looked.append(1), inked(*arguments))[1])
    monkeypatch.setattr(trainer, "compiled", lambda function, mode: function)
    best, trials = run(config, data)
    assert [trial.problem for trial in trials] == [None] * len(trials)
    assert set(seen) == {tokens}
    assert len(seen) >= len(trials) * (TRIALS + WARMUP + TIMED)
    assert len(looked) == 1
    assert resolve_execution(config, 96, CPU) == best.execution
    assert resolve_execution(recipe("model.name=test_vit"), 96, CPU) == ExecutionConfig("eager", True, 8)
