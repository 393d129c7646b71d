"""What `Trainer` promises to whoever drives it: `fit`, `autotune`, a benchmark, a notebook."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from ends import TIMINGS, recipe
from packs import write_pack
from torch import nn

from fastsketch.augment import SketchAugment
from fastsketch.augment.params import AugmentParams
from fastsketch.config import Recipe, TrainingConfig
from fastsketch.errors import FastSketchError
from fastsketch.training import trainer as assembly
from fastsketch.training.checks import check_data
from fastsketch.training.data import TrainingData, open_data
from fastsketch.training.execution import compile as compilation
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.execution.distributed import World
from fastsketch.training.fit import fit
from fastsketch.training.phases import Phase
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import EpochRecord
from fastsketch.training.run.resume import saved_states
from fastsketch.training.state import is_over
from fastsketch.training.trainer import Trainer
from fastsketch.training.validation import Scores, accuracy_metrics, validate

CPU = torch.device("cpu")
STEPS = 3  # an epoch

EVERYTHING = (
    *("augment.cutmix=1", "augment.thickness=0.5", "augment.erasing=0.5", "augment.perspective=0.2"),
    *("augment.elastic=0.02", "augment.normalize=standard", "optimizer.name=adamw", "optimizer.lr=5e-3"),
    *("optimizer.weight_decay=0.05", "optimizer.layer_decay=0.8", "schedule.warmup_epochs=1"),
    *("training.image_sizes=[16,32]", "training.freeze_epochs=1", "training.label_smoothing=0.1"),
    *("training.clip_grad_norm=1", "training.micro_batch=8", "evaluation.flip=true"),
)
SETTINGS = {
    "plain": ("training.ema=0", "augment.mixup=0", "model.dropout=0"),
    "everything": EVERYTHING,
    "ink tokens in bfloat16": ("model.name=test_vit", "model.tokens=2", "training.precision=bfloat16"),
    "kornia": ("augment.engine=kornia", "augment.cutmix=1", "augment.thickness=0.5"),
    "train and val": ("data.train_split=train+val", "training.epochs=1"),
}
FIRST = ("plain", "everything", "ink tokens in bfloat16", "kornia")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write_pack(folder, {"train": 50, "val": 20}, 32)
    return folder


def opened(config: Recipe, **arguments: Any) -> tuple[Trainer, TrainingData]:
    dataset = check_data(config)
    return Trainer(config, dataset, CPU, **arguments), open_data(config, dataset, CPU, World())


def drive(trainer: Trainer, data: TrainingData, point: Callable[[], None] = lambda: None) -> list[EpochRecord]:
    """Train to the end as the docstring says; `point` is called between all steps."""
    records = []
    while not trainer.is_over:
        trainer.enter_phase()
        for _ in trainer.train_epoch(data.train):
            point()
        record, _ = trainer.end_epoch(None if data.val is None else trainer.validate(data.val))
        records.append(record)
        point()
    return records


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMINGS}


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit, but for times."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key not in TIMINGS)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other)


def saved(trainer: Trainer) -> dict[str, Any]:
    """Its state, by way of a file as safe as `resume.pt`."""
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


@pytest.fixture(params=FIRST)
def config(request: pytest.FixtureRequest, data: Path) -> Recipe:
    return recipe(data, *SETTINGS[request.param])


# ------------------------------------------------------------------------------------------------- what it comes to


def test_a_cpu_trains_with_convolutions_of_ours(data: Path) -> None:
    trainer, _ = opened(recipe(data, "model.name=test_efficientnet"))
    kinds = {type(module).__module__ for module in trainer.model.modules() if isinstance(module, nn.Conv2d)}
    assert "fastsketch.models.convolutions" in kinds


@pytest.mark.parametrize("name", SETTINGS)
def test_fit_is_a_trainer_driven_by_hand(data: Path, tmp_path: Path, name: str) -> None:
    config, run = recipe(data, *SETTINGS[name]), Run(tmp_path / "run")
    trainer, splits = opened(config)
    records = drive(trainer, splits)
    assert [timeless(asdict(record)) for record in fit(config, run)] == [timeless(asdict(record)) for record in records]
    theirs = next(saved_states(run.resume_path))
    state = trainer.state_dict()
    assert same(state, {key: getattr(theirs, key) for key in state})


def test_its_state_continues_from_every_step_to_the_same_bits(config: Recipe) -> None:
    states: list[dict[str, Any]] = []
    trainer, splits = opened(config)
    states.append(saved(trainer))
    records = drive(trainer, splits, lambda: states.append(saved(trainer)))
    expected = trainer.state_dict()
    assert len(states) == 1 + config.training.epochs * (STEPS + 1)
    for number, state in enumerate(states):
        other, splits = opened(config, pretrained=False)
        for parameter in other.state.eval_model.parameters():  # or the seed would do what the state should
            nn.init.ones_(parameter)
        torch.manual_seed(number)  # what is random in a step owes nothing to what was before it
        other.load_state_dict(state)
        assert same(other.state_dict(), state), number
        assert other.step_number == min(number - number // (STEPS + 1), 2 * STEPS)
        rest = drive(other, splits, lambda: torch.manual_seed(99))
        assert same(other.state_dict(), expected), number
        assert [timeless(asdict(record)) for record in rest] == [
            timeless(asdict(record)) for record in records[len(records) - len(rest) :]
        ]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {**state, "steps": STEPS + 1},
        lambda state: {**state, "model": {}},
        lambda state: {**state, "ema": None},
        lambda state: {**state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {key: value for key, value in state.items() if key != "best_top1"},
    ],
)
def test_what_is_no_state_of_it_is_refused(data: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    trainer, _ = opened(recipe(data))
    whole = saved(trainer)
    with pytest.raises((RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError)):
        trainer.load_state_dict(change(whole))
    trainer.load_state_dict(whole)  # good for this, still
    assert same(trainer.state_dict(), whole)


# ------------------------------------------------------------------------------------------------------- a step


def test_a_step_learns_and_counts(data: Path) -> None:
    trainer, splits = opened(recipe(data))
    trainer.enter_phase()
    before = copy.deepcopy(trainer.model.state_dict())
    losses = [trainer.train_step(batch) for batch in splits.train.epoch(0)]
    assert all(loss.shape == () and loss.dtype == torch.float32 and not loss.requires_grad for loss in losses)
    assert (trainer.state.steps, trainer.step_number, trainer.steps_per_epoch) == (STEPS, STEPS, STEPS)
    assert trainer.loss_sum() == pytest.approx(float(sum(losses)))
    moved = [key for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])]
    assert set(moved) == set(before)


def test_each_step_is_by_chance_and_the_seed_decides(data: Path) -> None:
    """Order, augmentation and dropout: other ones in every step of every epoch, the same again for the same seed."""

    def seen(seed: int) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {"order": [], "augmentation": [], "dropout": []}
        trainer, splits = opened(recipe(data, f"training.seed={seed}"))

        def noted(images: torch.Tensor, labels: torch.Tensor, params: AugmentParams) -> Any:
            found["order"].append(images.numpy().tobytes())
            found["augmentation"].append(params.sources.numpy().tobytes())
            found["dropout"].append(torch.get_rng_state().numpy().tobytes())
            return trainer.augment(images, labels, params)

        while not trainer.is_over:
            trainer.enter_phase()
            trainer.step.augment = noted
            list(trainer.train_epoch(splits.train))
            trainer.end_epoch(None)
        return found

    first, other, again = seen(0), seen(1), seen(0)
    assert first == again
    for name in first:
        assert len({*first[name], *other[name]}) == 4 * STEPS, name


def test_an_epoch_says_how_many_steps_are_done_and_goes_on_in_its_midst(data: Path) -> None:
    trainer, splits = opened(recipe(data, "training.ema=0"))  # the very model is validated
    trainer.enter_phase()
    steps = trainer.train_epoch(splits.train)
    assert next(steps) == 1
    steps.close()  # as whoever stops there does
    trainer.validate(splits.val)  # and validates meanwhile
    rest = trainer.train_epoch(splits.train)
    assert next(rest) == 2
    assert trainer.model.training
    assert list(rest) == [3]
    assert list(trainer.train_epoch(splits.train)) == []


def test_the_average_is_timms_and_is_what_is_validated(data: Path) -> None:
    trainer, splits = opened(recipe(data))
    average = trainer.state.ema
    assert average is not None
    assert trainer.state.eval_model is average.module is not trainer.model
    trainer.enter_phase()
    expected = copy.deepcopy(average)
    for number, _ in enumerate(trainer.train_epoch(splits.train), 1):
        expected.update(trainer.model, number)
        assert same(average.module.state_dict(), expected.module.state_dict())
    scores = [
        validate(model, trainer.preprocess, splits.val, accuracy_metrics(5))
        for model in (average.module, trainer.model)
    ]
    assert trainer.validate(splits.val) == scores[0] != scores[1]


def test_without_an_average_the_model_is_validated(data: Path) -> None:
    trainer, splits = opened(recipe(data, "training.ema=0"))
    assert trainer.state.eval_model is trainer.model
    assert trainer.validate(splits.val) == validate(trainer.model, trainer.preprocess, splits.val, accuracy_metrics(5))


def test_the_engine_of_the_recipe_augments(data: Path) -> None:
    found = {}
    for engine in ("fused", "kornia"):
        trainer, splits = opened(recipe(data, f"augment.engine={engine}"))
        trainer.enter_phase()
        list(trainer.train_epoch(splits.train))
        found[engine] = type(trainer.augment).__name__, trainer.loss_sum()
    assert [name for name, _ in found.values()] == ["SketchAugment", "KorniaAugment"]
    assert found["fused"][1] != found["kornia"][1]


def test_a_loss_that_is_no_number_ends_it(data: Path) -> None:
    trainer, splits = opened(recipe(data))
    trainer.enter_phase()
    steps = trainer.train_epoch(splits.train)
    next(steps)
    trainer.state.loss_sum += torch.inf
    with pytest.raises(FastSketchError, match="the training loss became inf in epoch 1"):
        trainer.state_dict()
    with pytest.raises(FastSketchError, match="the training loss became inf in epoch 1"):
        list(steps)


# ------------------------------------------------------------------------------------------------ epochs and phases


def test_the_end_of_an_epoch_is_recorded_and_the_best_remembered(data: Path) -> None:
    trainer, splits = opened(recipe(data, "training.epochs=9", "training.patience=2", "schedule.name=constant"))
    found = []
    for top1 in (0.25, 0.5, 0.5, 0.25):
        assert not trainer.is_over
        trainer.enter_phase()
        list(trainer.train_epoch(splits.train))
        loss = trainer.loss_sum() / STEPS
        record, improved = trainer.end_epoch(Scores(1.5, top1, 0.75), seconds=100.0)
        assert (record.train_loss, record.val_loss, record.val_top1, record.val_top5) == (loss, 1.5, top1, 0.75)
        assert record.lr == pytest.approx(0.05)
        assert 100 < record.seconds < 160
        assert record.images_per_second == pytest.approx(16 * STEPS / (record.seconds - 100))
        assert (trainer.state.steps, trainer.state.seconds, trainer.loss_sum()) == (0, 0, 0)
        found.append((record.epoch, record.step, improved, trainer.state.best_epoch, trainer.state.best_top1))
    assert found == [(1, 3, True, 1, 0.25), (2, 6, True, 2, 0.5), (3, 9, False, 2, 0.5), (4, 12, False, 2, 0.5)]
    assert trainer.is_over  # two epochs without a better one


def test_only_every_nth_epoch_and_the_last_are_validated_and_count(data: Path) -> None:
    trainer, splits = opened(recipe(data, "training.epochs=7", "training.validate_every=3", "schedule.name=constant"))
    found = []
    for top1 in (None, None, 0.25, None, None, 0.125, 0.5):
        trainer.enter_phase()
        list(trainer.train_epoch(splits.train))
        validates = trainer.recipe.training.validates(trainer.state.epoch + 1)
        _, improved = trainer.end_epoch(None if top1 is None else Scores(1.5, top1, 0.75))
        found.append((validates, improved, trainer.state.best_epoch, trainer.state.best_top1))
    assert found == [
        (False, True, 0, -1),  # nothing is known to be better
        (False, True, 0, -1),
        (True, True, 3, 0.25),
        (False, False, 3, 0.25),
        (False, False, 3, 0.25),
        (True, False, 3, 0.25),
        (True, True, 7, 0.5),
    ]


def test_patience_waits_for_an_epoch_that_is_validated() -> None:
    config = TrainingConfig(epochs=100, validate_every=4, patience=3)
    assert [epoch for epoch in range(4, 20) if is_over(epoch, 4, config)] == [8, 12, 16]


def test_without_validation_every_epoch_is_the_best_so_far(data: Path) -> None:
    trainer, splits = opened(recipe(data))
    for _ in range(2):
        trainer.enter_phase()
        list(trainer.train_epoch(splits.train))
        record, improved = trainer.end_epoch(None)
        assert (record.val_loss, record.val_top1, record.val_top5, improved) == (None, None, None, True)
    assert (trainer.state.best_epoch, trainer.state.best_top1) == (0, -1)
    assert trainer.is_over


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes in which something was compiled, by a compiler that changes nothing."""
    modes: list[str] = []

    def compiled(function: Any, mode: str) -> Any:
        modes.append(mode)
        return lambda *arguments: function(*arguments)

    for module in (assembly, compilation):
        monkeypatch.setattr(module, "compiled", compiled)
    monkeypatch.setattr(compilation, "difference", lambda *_: None)  # dropout
    return modes


@pytest.mark.parametrize("checked", [True, False])
def test_entering_a_phase_compiles_and_leaves_the_state_as_it_was(data: Path, asked: list[str], checked: bool) -> None:
    execution = ExecutionConfig("default", True, 8)
    trainer, splits = opened(recipe(data, *EVERYTHING), execution=execution)
    for phase in (Phase(True, 16), Phase(False, 32)):
        before = copy.deepcopy(trainer.state_dict())
        trainer.enter_phase(checked=checked)
        assert len(trainer.state.compiled) == (1 + (phase.size == 32)) * checked
        assert same({**trainer.state_dict(), "compiled": before["compiled"]}, before)
        assert trainer.phase == phase
        assert trainer.augment.preprocess.size == phase.size
        assert trainer.step.micro_batch == 8
        learning = {parameter.requires_grad for parameter in trainer.model.parameters()}
        assert learning == ({True, False} if phase.frozen else {True})
        assert asked == ["default", "default"]  # the augmentation and the loss
        asked.clear()
        step = trainer.step
        trainer.enter_phase(checked=checked)
        assert trainer.step is step
        assert asked == []
        list(trainer.train_epoch(splits.train))
        trainer.end_epoch(trainer.validate(splits.val))


def test_only_a_phase_that_is_checked_is_compared_with_eager_mode(
    data: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "difference", lambda *_: "it departs")
    for checked in (True, False):
        trainer, _ = opened(recipe(data), execution=ExecutionConfig("default", True, 16))
        trainer.enter_phase(checked=checked)
        assert isinstance(trainer.step.augment, SketchAugment) == checked  # eager again
    assert len(asked) == 4


def test_a_model_of_ones_own_is_trained_instead_of_the_recipes(data: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
    trainer, splits = opened(recipe(data, "model.name=no_such_model"), model=model)
    assert trainer.model is model
    before = copy.deepcopy(model.state_dict())
    drive(trainer, splits)
    assert not any(torch.equal(value, before[key]) for key, value in model.state_dict().items())
