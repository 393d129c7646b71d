"""A sweep finds what learns best, loses nothing, and can be shared."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastsketch_cli.app import app
from shapes import convert_shapes, write_shapes
from typer.testing import CliRunner

from fastsketch.config import Recipe
from fastsketch.errors import BackendMissing, ConfigError, FastSketchError
from fastsketch.figures.sweep import TriedPoint, plot_sweep
from fastsketch.recipes import load_recipe
from fastsketch.sweeping.space import Range, Space, default_space, read_space, with_override
from fastsketch.sweeping.sweep import Outcome, best_outcome, sweep
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import EpochRecord, MetricLog, read_records

pytest.importorskip("optuna")

SPACE: Space = {"optimizer.lr": Range(low=1e-4, high=1e-1, log=True), "data.batch_size": [16, 32]}
RECIPE = load_recipe(None, ["training.epochs=4"])


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    """In memory: SQLite flushes what it stores of every epoch, which took five times as long as all the rest."""
    return Path(tempfile.mkdtemp(dir=memory))


def record(epoch: int, top1: float) -> EpochRecord:
    return EpochRecord(epoch, 10 * epoch, 0.1, 1.0, 1.0, top1, 1.0, 1.0, 100.0)


def quality(recipe: Recipe) -> float:
    """The best learning rate is 0.01, and the batch does not matter much."""
    return 0.9 - 0.1 * abs(math.log10(recipe.optimizer.lr) + 2) + (recipe.data.batch_size == 32) * 0.01


class Training:
    """Instead of `fit`: better with every epoch, and resumable as it is; stops where it is told."""

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.left, self.error = stop_after, error or KeyboardInterrupt()
        self.epochs: list[tuple[str, int]] = []

    def __call__(self, recipe: Recipe, run: Run, on_epoch: Callable[[EpochRecord], None]) -> None:
        run.root.mkdir(parents=True, exist_ok=True)
        recipe.save(run.config)
        earlier = read_records(run.metrics) if run.metrics.is_file() else []
        with MetricLog(run.metrics, earlier) as metrics:
            for epoch in range(len(earlier) + 1, recipe.training.epochs + 1):
                if self.left == 0:
                    raise self.error
                self.left = None if self.left is None else self.left - 1
                self.epochs.append((run.root.name, epoch))
                made = record(epoch, quality(recipe) * (1 - 0.5**epoch))
                metrics.add(made)
                on_epoch(made)


def swept(out: Path, trials: int = 8, **options: Any) -> list[Outcome]:
    return sweep(RECIPE, SPACE, out, trials, train=options.pop("train", None) or Training(), **options)


def seen(found: list[Outcome]) -> list[tuple[Any, ...]]:
    return [(each.state, each.epochs, each.top1, each.settings) for each in found]


def test_trials_are_runs_and_the_best_one_wins(tmp_path: Path) -> None:
    told: list[Outcome] = []
    found = swept(tmp_path / "sweep", 12, on_trial=told.append)
    assert [each.run.name for each in found] == [f"trial-{number:04d}" for number in range(12)]
    assert told == found
    assert {each.state for each in found} == {"complete", "pruned"}
    for each in found:
        recipe = Run(each.run).recipe()
        assert each.settings == {"optimizer.lr": recipe.optimizer.lr, "data.batch_size": recipe.data.batch_size}
        assert each.epochs == len(read_records(Run(each.run).metrics))
        assert each.top1 == max(row.val_top1 or 0 for row in read_records(Run(each.run).metrics))
        assert (each.epochs == 4) == (each.state == "complete")
    best = best_outcome(found)
    assert best is not None
    assert best.top1 == max(each.top1 or 0 for each in found)
    assert seen(swept(tmp_path / "again", 12)) == seen(found), "the seed decides"
    assert seen(swept(tmp_path / "other", 12, seed=1)) != seen(found)


def test_broken_off_after_any_epoch_it_goes_on(tmp_path: Path) -> None:
    """At every epoch of the whole sweep: nothing is trained twice, and no trial is missing."""
    whole = Training()
    expected = swept(tmp_path / "whole", 5, train=whole)
    for stop in range(len(whole.epochs)):
        out, first, second = tmp_path / str(stop), Training(stop), Training()
        with pytest.raises(KeyboardInterrupt):
            swept(out, 5, train=first)
        found = swept(out, 5, train=second)
        assert len(found) == 5
        assert len(set(first.epochs + second.epochs)) == len(first.epochs + second.epochs)
        assert len({each.run for each in found}) == len(expected)
        assert not any(each.state == "running" for each in found)
        for each in found:
            trained = [epoch for name, epoch in first.epochs + second.epochs if name == each.run.name]
            assert trained == list(range(1, each.epochs + 1))


def test_more_trials_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    few = swept(tmp_path / "sweep", 3)
    more = Training()
    assert swept(tmp_path / "sweep", 6, train=more)[:3] == few
    assert {name for name, _ in more.epochs} == {f"trial-{number:04d}" for number in (3, 4, 5)}
    none = Training()
    swept(tmp_path / "sweep", 6, train=none)
    assert none.epochs == []


def test_processes_share_a_storage(tmp_path: Path) -> None:
    """A second one, in the midst of the first one's trial, leaves that alone and takes the next."""
    inner: list[Outcome] = []

    class Outer(Training):
        def __call__(self, recipe: Recipe, run: Run, on_epoch: Callable[[EpochRecord], None]) -> None:
            with run.held(resume=True):
                if not inner:
                    inner.extend(swept(tmp_path / "sweep", 3))
                super().__call__(recipe, run, on_epoch)

    found = swept(tmp_path / "sweep", 3, train=Outer())
    assert [each.state for each in inner] == ["running", *[each.state for each in found[1:]]]
    assert len(found) == 3


def test_a_training_that_fails_ends_the_sweep_and_is_tried_no_more(tmp_path: Path) -> None:
    with pytest.raises(FastSketchError, match="no luck"):
        swept(tmp_path / "sweep", 4, train=Training(6, FastSketchError("no luck")))
    found = swept(tmp_path / "sweep", 4)
    assert len(found) == 4
    assert "trial-0001" not in {each.run.name for each in found}


def test_what_cannot_be_meant_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept(tmp_path / "sweep", 1)
    with pytest.raises(ConfigError, match="is a sweep of another space"):
        sweep(RECIPE, {"optimizer.lr": [0.1, 0.2]}, tmp_path / "sweep", 2, train=Training())
    for storage in ("nonsense", "sqlite:////nowhere/x.db", "postgresql://nobody@127.0.0.1:1/x"):
        with pytest.raises(ConfigError, match="cannot be opened"):
            swept(tmp_path / "other", 1, storage=storage)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(BackendMissing, match="optuna cannot be imported"):
        swept(tmp_path / "none", 1)


# ------------------------------------------------------------------------------------------------------------- space


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_space_is_read(tmp_path: Path) -> None:
    text = """
optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
data.batch_size: {low: 16, high: 64, step: 16}
augment.thickness: [0.0, 0.5]
model.name: [resnet18, vit_small]
"""
    space = read_space(write(tmp_path / "space.yaml", text), load_recipe(None))
    assert space["optimizer.lr"] == Range(low=1e-4, high=1e-2, log=True)
    batch = space["data.batch_size"]
    assert isinstance(batch, Range)
    assert batch.whole
    assert space["model.name"] == ["resnet18", "vit_small"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Input should be a valid dictionary"),
        ("{}", "nothing to try"),
        ("optimizer.lr: 3", "optimizer.lr"),
        ("optimizer.lr: [0.1]", "optimizer.lr"),
        ("optimizer.lr: {low: 1, high: 1}", "low is to be less than high"),
        ("optimizer.lr: {low: 0, high: 1, log: true}", "log wants low above 0"),
        ("optimizer.lr: {low: 0.1, high: 1.0, step: -1.0}", "step is to be above 0"),
        ("optimizer.lr: {low: 0.1, high: 1.0, by: 2}", "optimizer.lr"),
        ("optimizer.speed: [1, 2]", "optimizer.speed"),
        ("data.batch_size: [0, 2]", "data.batch_size"),
        ("a: [", "space.yaml"),
    ],
)
def test_what_is_no_space_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space(write(tmp_path / "space.yaml", text), load_recipe(None))
    assert says in str(caught.value)
    assert "pydantic" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_space(tmp_path / "nowhere.yaml", load_recipe(None))


def test_the_default_space_suits_every_recipe() -> None:
    for name in (None, "quick", "report-5-vit-base"):
        recipe = load_recipe(name)
        for key, kind in default_space(recipe).items():
            for value in (kind.low, kind.high) if isinstance(kind, Range) else kind:
                assert with_override(recipe, {key: value}) != with_override(recipe, {key: 0.123})


@pytest.mark.parametrize("value", [1e-5, 1.5e-7, 1e22, 0.1, 3e-4, 1.0])
def test_numbers_come_through_yaml(value: float) -> None:
    assert with_override(load_recipe(None), {"optimizer.weight_decay": value}).optimizer.weight_decay == value


# ----------------------------------------------------------------------------------------------------------- command


def test_the_command_leaves_a_table_a_picture_and_a_recipe(tmp_path: Path) -> None:
    data = convert_shapes(write_shapes(tmp_path / "raw"), tmp_path / "data")
    space = write(tmp_path / "space.yaml", "optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
    arguments = ["sweep", data, "--space", space, "--out", tmp_path / "sweep", "--trials", 2]
    tiny = ["model.name=test_resnet", "optimizer.name=adamw", "training.epochs=1", "training.device=cpu"]
    for setting in tiny:
        arguments += ["--set", setting]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.stderr
    with (tmp_path / "sweep" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["trial-0000", "trial-0001"]
    best = max(rows, key=lambda row: float(row["top1"]))
    assert load_recipe(str(tmp_path / "sweep" / "best.yaml")).optimizer.lr == float(best["optimizer.lr"])
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert best["trial"] in " ".join(result.stdout.split())


def test_the_picture_takes_every_kind_of_setting(tmp_path: Path) -> None:
    points = [
        TriedPoint(
            {"lr": 10.0 ** -(number % 4), "name": ("a", "b$")[number % 2], "on": bool(number % 2)},
            number / 10,
            number > 2,
        )
        for number in range(6)
    ]
    for count in (1, 2, 6):
        plot_sweep(tmp_path / f"{count}.png", points[:count], "a $weep")
        assert (tmp_path / f"{count}.png").read_bytes().startswith(b"\x89PNG")
