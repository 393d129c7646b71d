"""H6: a training that ends at any point is continued to the very bytes of one that was left alone.

Every point is tried, none by chance: after each step, before, in and after each validation, after each rename of a file
(which is between `last/` and `best/`, between the two renames of `resume.pt`, ...), and when all is done. With the slow
tests, that is; else every third, beginning at another one where less is saved.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from ends import contents, ends, recipe, train, write_data
from fastsketch_cli import train as command
from fastsketch_cli.console import console
from packs import skip_without_library

from fastsketch.augment import SketchAugment
from fastsketch.training import trainer
from fastsketch.training.execution import config as execution
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.execution.step import TrainStep
from fastsketch.training.run import stop as stopping
from fastsketch.training.run.directory import Run
from fastsketch.training.run.stop import Interrupted


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "set")


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["every third", "every"])
@pytest.mark.parametrize("saves", [True, False], ids=["every step is saved", "saved after the first epoch"])
def test_ended_at_any_point_it_is_continued_to_the_same_bytes(
    data: Path, tmp_path: Path, saves: bool, step: int
) -> None:
    config, whole = recipe(data), tmp_path / "run"
    left = ends(config, whole, saves=saves)
    assert len(left) >= 26
    assert {"after step 2", "in validation", "last/model.safetensors", "best/config.json"} < {name for name, _ in left}
    expected, problems = contents(whole), {}
    for number, (name, root) in [*enumerate(left)][0 if saves else step // 2 :: step]:
        train(config, root)
        found = contents(root)
        if different := [file for file in {**expected, **found} if found.get(file) != expected.get(file)]:
            problems[number, name] = different
    assert problems == {}


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["every fourth", "every"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
def test_what_was_compiled_stays_so_where_the_clock_says_otherwise(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool, step: int
) -> None:
    """Which of the two is faster is measured in a moment, and another in each session; they round differently."""
    config, whole = recipe(data, "training.image_sizes=[16,32]", "training.compile=default"), tmp_path / "run"
    slower: set[int] = set()
    begun: dict[int, int] = {}

    def compile_step(step: TrainStep, augment: SketchAugment, *_: object, if_slower: bool) -> bool:
        size = augment.preprocess.size
        begun.setdefault(size, len([*tmp_path.glob("run-*")]))
        if taken := (compiled != (size in slower)) or if_slower:
            eager = step.loss_of
            step.loss_of = lambda *arguments: eager(*arguments) * 1.001
        return taken

    monkeypatch.setattr(trainer, "compile_step", compile_step)
    left = ends(config, whole, saves=False)
    expected, different = contents(whole), []
    names = [name for name, _ in left]
    trained = {size: names.index("after step 1", number) for size, number in begun.items()}
    assert [*trained] == [16, 32]
    for number, (name, root) in [*enumerate(left)][step // 2 :: step]:
        saved = Run(root).resume_path.is_file()  # else it begins anew
        slower |= {size for size, first in trained.items() if saved and first <= number}
        train(config, root)
        if contents(root) != expected:
            different.append((number, name))
        slower.clear()
    assert different == []
    slower |= trained.keys()
    train(config, tmp_path / "other")
    assert contents(tmp_path / "other") != expected


def test_what_is_found_faster_later_is_for_other_runs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_cache", lambda: tmp_path / "tuned.json")
    config = recipe(data, "training.compile=auto")
    left = dict(ends(config, tmp_path / "run"))
    execution.remember_execution(ExecutionConfig("eager", True, 2), config, 32, torch.device("cpu"))
    train(config, root := left["after step 2"])
    assert contents(root) == contents(tmp_path / "run")
    train(config, tmp_path / "other")
    assert contents(tmp_path / "other") != contents(root)


def test_another_compiler_that_is_asked_for_is_tried(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(trainer, "compile_step", lambda *arguments, **_: bool(tried.append(arguments[4])))
    for epochs, mode in enumerate(["default", "default", "reduce-overhead"], start=1):
        train(recipe(data, f"training.epochs={epochs}", f"training.compile={mode}"), tmp_path / "run")
    assert tried == ["default", "reduce-overhead"]


class _Time:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["every third", "every"])
def test_max_minutes_may_be_over_at_any_point(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(stopping, "perf_counter", time := _Time())
    config = recipe(data, "training.save_minutes=5")
    names: list[str] = []
    train(config, whole := tmp_path / "whole", names.append)
    expected = contents(whole)
    every = [*map(names.index, dict.fromkeys(names)), len(names) - names[::-1].index("after step 2") - 1]
    for number in every[::step]:
        name, root, time.now = names[number], tmp_path / str(number), 0.0
        left = [None] * number

        def over(_: str, left: list[None] = left) -> None:
            if not left:
                time.now = 61.0
            else:
                left.pop()

        train(recipe(data, "training.max_minutes=1"), root, over)
        time.now = 0.0
        train(config, root)
        assert contents(root) == expected, (number, name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize(
    ("name", "nth", "rest"),
    [
        ("after step 2", 0, 2),  # of 4
        ("in validation", 0, 2),  # of two batches the first: it does not wait for the second
        ("in validation", 2, 0),
        ("after validation", 0, 2),
        ("last/model.safetensors", 0, 2),
        ("best/config.json", 0, 2),
        ("metrics.jsonl", 0, 2),
    ],
)
def test_a_signal_is_heard_at_once_and_loses_no_step(
    data: Path, tmp_path: Path, name: str, nth: int, rest: int, number: signal.Signals
) -> None:
    config = recipe(data, "training.save_minutes=5")
    train(config, whole := tmp_path / "whole")
    heard: list[str] = []

    def point(at: str) -> None:
        heard.append(at)
        if at == name and heard.count(at) == nth + 1:
            heard.append("signal")
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as stopped:
        train(config, tmp_path / "run", point)
    assert stopped.value.signal == number
    after = heard[heard.index("signal") + 1 :]
    assert "in validation" not in after
    assert not any(each.startswith("after step") for each in after)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert train(config, tmp_path / "run") == rest
    assert contents(tmp_path / "run") == contents(whole)


@pytest.mark.parametrize("name", ["pack", pytest.param("ffcv", marks=pytest.mark.slow), "dali"])
def test_every_loader_goes_on_from_any_step(tmp_path: Path, name: str) -> None:
    skip_without_library(name)
    data = write_data(tmp_path / "set", all_formats=True)
    config = recipe(data, f"data.loader={name}", "training.save_minutes=5")
    train(config, whole := tmp_path / "whole")
    expected = contents(whole)
    for step, at in enumerate(["after step 1", "after step 2", "in validation"]):
        root = tmp_path / str(step)

        heard: list[str] = []

        def stop(here: str, at: str = at, heard: list[str] = heard) -> None:
            if here == at and heard.count(at) < 1:
                os.kill(os.getpid(), signal.SIGINT)
            heard.append(here)

        with pytest.raises(Interrupted):
            train(config, root, stop)
        train(config, root)
        assert contents(root) == expected, at


@pytest.mark.parametrize("call", [1, 2], ids=["at the start", "between two sizes"])
def test_ctrl_c_while_compiling_is_heard_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    config = recipe(data, "training.save_minutes=5", "training.image_sizes=[16,32]", "training.compile=default")
    calls: list[float] = []

    def compile_step(*_: object, **__: object) -> bool:
        calls.append(time.perf_counter())
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)  # as long as a compiler may take
        return False

    monkeypatch.setattr(trainer, "compile_step", compile_step)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run")
    assert time.perf_counter() - calls[-1] < 10
    assert train(config, tmp_path / "run") == 4 - 2 * (call - 1)


def test_a_second_ctrl_c_ends_at_once(data: Path, tmp_path: Path) -> None:
    names: list[str] = []

    def twice(name: str) -> None:
        names.append(name)
        if "after step 1" in names:  # and at the next point, which is in the midst of saving
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as ended:
        train(recipe(data), tmp_path / "run", twice)
    assert not isinstance(ended.value, Interrupted)
    train(recipe(data), tmp_path / "run")


def test_a_terminal_that_is_gone_ends_no_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []

    def gone(text: str, **_: object) -> None:
        printed.append(text)
        if len(printed) > 1:  # the directory is named first
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(console, "print", gone)
    assert len(command.train_and_report(recipe(data), Run(tmp_path / "run"))) == 2
    assert [line.split()[0] for line in printed[1:]] == ["epoch", f"[bold]{tmp_path / 'run'}[/]:"]
