from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from fastsketch_benchmarks.ink_study import Pretraining
from fastsketch_benchmarks.ink_tokens_accuracy import (
    DENSE,
    QUICK,
    WAYS,
    WEIGHTS,
    Result,
    Sees,
    Way,
    epochs_in_time,
    learner,
    smaller_size,
    summary,
)
from safetensors.torch import save_file
from shapes import convert_shapes, write_shapes
from torch import nn

from fastsketch.training.optim import highest_lr

STUDY = replace(QUICK, batch_size=16)

Run = Callable[..., CompletedProcess[str]]


def test_what_a_way_has_over_dense_is_taken_seed_by_seed() -> None:
    scores = {"dense": (0.5, 0.6), "ink tokens": (0.6, 0.8)}
    results = [
        Result(
            way.name,
            seed,
            2,
            None if way.sees == "smaller" else scores.get(way.name, (0.5, 0.5))[seed],
            0.4 + 0.1 * seed,
            1,
        )
        for seed in (1, 0)
        for way in WAYS
    ]
    table = summary(results)
    assert list(table) == [way.name for way in WAYS]
    assert table["dense"]["over_dense_all"] == 0
    assert "top1_ink" not in table["smaller images"]
    assert table["ink tokens"]["top1_ink"] == pytest.approx(0.7)
    assert table["ink tokens"]["over_dense_ink"] == pytest.approx(0.25)  # over dense's on all patches
    assert table["ink tokens"]["over_dense_std_ink"] == pytest.approx(0.0707, abs=1e-4)
    assert table["ink tokens"]["over_dense_all"] == pytest.approx(0)


def test_each_way_takes_about_as_long_as_dense() -> None:
    costs: dict[Sees, float] = {"all": 20, "smaller": 11, "random": 10, "ink alone": 8, "ink": 9}
    assert epochs_in_time(4, DENSE, costs) == 4
    assert epochs_in_time(4, Way("", "smaller"), costs) == 7.27
    assert epochs_in_time(4, Way("", "ink"), costs) == 8.89
    assert epochs_in_time(4, Way("", "ink", equal_epochs=True), costs) == 4


def test_smaller_images_have_about_as_many_patches() -> None:
    how = Pretraining(
        size=112, width=192, depth=6, classes=None, drawings=150, drawing_size=64, epochs=1, sketch_epochs=1
    )
    assert smaller_size(how, 95) == 80  # 10 x 10 patches of 8 px
    assert smaller_size(how, 196) == 112


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    convert_shapes(write_shapes(folder / "images"), folder / "sketches", size=STUDY.pretraining.size)
    save_file({"cls_token": torch.zeros(1, 1, STUDY.pretraining.width)}, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize(
    ("sees", "training", "on_ink", "on_all"),
    [
        ("all", 1 + 196, 1 + 30, 1 + 196),
        ("smaller", 1 + 25, None, 1 + 25),
        ("random", 1 + 30, 1 + 30, 1 + 196),
        ("ink alone", 1 + 30, 1 + 30, 1 + 196),
        ("ink", 1 + 30 + 1, 1 + 30 + 1, 1 + 196),
    ],
)
def test_every_way_sees_what_it_says(
    sees: Sees, training: int, on_ink: int | None, on_all: int, prepared: Path
) -> None:
    trained = learner(STUDY, sees, 30, prepared, epochs=1.5)
    model = trained.trainer.model
    assert not any(isinstance(module, nn.Dropout) and module.p for module in model.modules())
    assert trained.trainer.recipe.model.dropout == 0  # which the solved classifier counts on
    seen: set[tuple[bool, int]] = set()
    model.blocks[0].register_forward_hook(  # type: ignore[index, union-attr]
        lambda block, inputs, _: seen.add((block.training, inputs[0].shape[1]))
    )
    rates = []
    trained.trainer.state.optimizer.register_step_pre_hook(lambda steps, *_: rates.append(highest_lr(steps)))
    trained.learn()
    assert len(rates) == trained.steps == round(1.5 * trained.trainer.steps_per_epoch)
    assert max(rates) > 20 * rates[-1]  # the rate falls to the end of these steps, not of the second epoch
    assert {tokens for in_training, tokens in seen if in_training} == {training}
    for number, tokens in ((30, on_ink), (None, on_all)):
        if tokens is not None:
            seen.clear()
            trained.top1(number, paper_token=sees == "ink")
            assert seen == {(False, tokens)}


@pytest.mark.slow
def test_study_trains_every_way_with_every_seed(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "ink_tokens_accuracy", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("ink_tokens_accuracy-*-quick.json")).read_text(encoding="utf-8"))
    assert {(each["way"], each["seed"]) for each in record["runs"]} == {
        (way.name, seed) for way in WAYS for seed in (0, 1)
    }
    assert next(tmp_path.glob("ink_tokens_accuracy-*.png")).stat().st_size > 0
