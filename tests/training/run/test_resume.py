"""Continuing a run: what it needs, what it refuses, and how it stops in time."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from shapes import convert_shapes, write_shapes

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError
from fastsketch.recipes import load_recipe
from fastsketch.training.execution.distributed import World
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run
from fastsketch.training.run.resume import saved_states
from fastsketch.training.run.stop import Interrupted, StopController
from fastsketch.training.state import TrainState

CPU = torch.device("cpu")
STEPS = 12  # an epoch


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def recipe(data: Path, *overrides: str) -> Recipe:
    small = ("model.name=test_resnet", "data.batch_size=16", "optimizer.lr=5e-2", "training.device=cpu")
    return load_recipe(None, [*small, "training.epochs=3", *overrides], data__path=str(data))


def same_weights(one: Run, other: Run) -> bool:
    first, second = (load_file(run.last / "model.safetensors") for run in (one, other))
    return all(torch.equal(first[key], second[key]) for key in first)


def stop_after(run: Run, config: Recipe, epoch: int, step: int) -> None:
    """Train until Ctrl-C comes in the middle of a step."""

    def on_step(at_epoch: int, at_step: int, steps: int) -> None:
        if (at_epoch, at_step) == (epoch, step):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(config, run, on_step=on_step)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.ema=0.9", "augment.mixup=1", "model.dropout=0.3", "optimizer.name=adamw", "optimizer.lr=2e-3"),
        ("training.micro_batch=4", "training.clip_grad_norm=1", "schedule.name=exponential"),
        ("training.precision=bfloat16", "schedule.warmup_epochs=1"),
        ("model.freeze_stages=2", "training.ema=0.9"),
        ("model.freeze_stages=2", "optimizer.name=adamw", "optimizer.lr=2e-3"),
    ],
    ids=["plain", "ema", "micro-batches", "bfloat16", "frozen stages", "frozen stages, AdamW"],
)
def test_ctrl_c_saves_the_step_and_resume_ends_in_the_same_bits(
    shapes: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    config = recipe(shapes, *overrides)
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    undisturbed = fit(config, whole)
    stop_after(broken, config, 2, 5)
    state = next(saved_states(broken.resume_path))
    assert (state.epoch, state.steps) == (1, 5)
    done: list[int] = []
    records = fit(config, broken, resume=True, on_step=lambda epoch, step, _: done.append(epoch * STEPS + step))
    assert len(done) == 2 * STEPS - 5
    assert same_weights(whole, broken)
    assert [(each.epoch, each.train_loss, each.val_loss) for each in records] == [
        (each.epoch, each.train_loss, each.val_loss) for each in undisturbed
    ]


def test_the_weights_file_is_not_needed_again(shapes: Path, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    save_file(model.state_dict(), weights := tmp_path / "weights.safetensors")
    config = recipe(shapes, f"model.weights={weights}")
    undisturbed, broken = Run(tmp_path / "undisturbed"), Run(tmp_path / "broken")
    fit(config, undisturbed)
    stop_after(broken, config, epoch=2, step=5)
    weights.unlink()
    fit(config, broken, resume=True)
    assert same_weights(undisturbed, broken)
    with pytest.raises(ConfigError, match="no such weights file"):
        fit(config, Run(tmp_path / "new"))


def test_a_state_moves_to_another_memory_order_and_precision() -> None:
    def state(order: torch.memory_format, scaled: bool) -> TrainState:
        model = torch.nn.Conv2d(3, 8, 3).to(memory_format=order)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        return TrainState(model, None, optimizer, torch.amp.GradScaler("cpu", enabled=scaled), torch.zeros(()))

    before, after = state(torch.channels_last, scaled=False), state(torch.contiguous_format, scaled=True)
    before.model(torch.rand(2, 3, 8, 8)).sum().backward()
    before.optimizer.step()
    after.load_state_dict(before.state_dict(0.0))
    weights, old_weights = after.model.weight, before.model.weight
    for name in ("exp_avg", "exp_avg_sq"):
        moment = after.optimizer.state[weights][name]
        assert moment.stride() == weights.stride() != old_weights.stride()
        assert torch.equal(moment, before.optimizer.state[old_weights][name])
    assert after.scaler.get_scale() > 1


def test_more_epochs_go_on_where_the_run_ended(shapes: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(shapes, "schedule.name=constant"), run)
    records = fit(recipe(shapes, "schedule.name=constant", "training.epochs=5"), run, resume=True)
    longer = Run(tmp_path / "longer")
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    fit(recipe(shapes, "schedule.name=constant", "training.epochs=5"), longer)
    assert same_weights(run, longer)
    assert run.recipe().training.epochs == 5


def test_a_damaged_state_falls_back_to_the_one_before(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe(shapes, "training.save_minutes=0")
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    fit(config, whole)
    stop_after(broken, config, 2, 5)
    broken.resume_path.write_bytes(broken.resume_path.read_bytes()[:1000])
    with caplog.at_level(logging.INFO, "fastsketch"):
        fit(config, broken, resume=True)
    assert "resume.pt is damaged" in caplog.text
    assert "continuing in epoch 2 after step 4" in caplog.text
    assert same_weights(whole, broken)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=test_vit", "trained with model.name=test_resnet, not test_vit"),
        ("optimizer.lr=1", "optimizer.lr=0.05, not 1.0"),
        ("training.seed=1", "training.seed=0, not 1"),
    ],
)
def test_another_training_is_refused(shapes: Path, tmp_path: Path, override: str, message: str) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(shapes, "training.epochs=1"), run)
    with pytest.raises(ConfigError, match=message):
        fit(recipe(shapes, override), run, resume=True)


def test_other_images_of_the_same_classes_are_refused(shapes: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(shapes, "training.epochs=1"), run)
    other = convert_shapes(write_shapes(tmp_path / "images", seed=1), tmp_path / "other")
    with pytest.raises(ConfigError, match="other images"):
        fit(recipe(other), run, resume=True)


def test_max_minutes_stops_with_everything_saved(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    fit(recipe(shapes), whole)
    with caplog.at_level(logging.INFO, "fastsketch"):
        records = fit(recipe(shapes, "training.max_minutes=1e-6"), broken)
    assert records == []
    assert "stopped in epoch 1 after step 1 of 12" in caplog.text
    assert len(fit(recipe(shapes), broken, resume=True)) == 3
    assert same_weights(whole, broken)


def test_patience_ends_a_training_that_stands_still(shapes: Path, tmp_path: Path) -> None:
    still = recipe(shapes, "optimizer.lr=1e-12", "training.epochs=9", "training.patience=2", "augment.normalize=unit")
    run = Run(tmp_path / "run")
    records = fit(still, run)
    best = max(range(len(records)), key=lambda index: (records[index].val_top1 or 0, -index))
    assert len(records) == best + 3 < 9
    assert len(fit(still, run, resume=True)) == len(records)


def test_the_average_is_what_is_validated_and_saved(shapes: Path, tmp_path: Path) -> None:
    plain, averaged = Run(tmp_path / "plain"), Run(tmp_path / "averaged")
    first, second = fit(recipe(shapes), plain), fit(recipe(shapes, "training.ema=0.5"), averaged)
    assert [record.train_loss for record in first] == [record.train_loss for record in second]
    assert all(one.val_loss != other.val_loss for one, other in zip(first, second, strict=True))
    state = next(saved_states(averaged.resume_path))
    assert state.ema
    saved = load_file(averaged.last / "model.safetensors")
    assert all(torch.equal(saved[key], tensor) for key, tensor in state.ema.items())


def test_the_controller_keeps_what_saving_and_validation_took_in_reserve() -> None:
    stop = StopController(1.0, math.inf, World(), CPU)
    assert stop.due(0) is None
    stop.validation_seconds = 61
    assert stop.due(0) is None
    assert stop.due(0, before_validation=True) == "stop"
    stop.save_seconds = 61
    assert stop.due(0) == "stop"


def test_signals_are_heard_once_and_only_in_the_main_thread() -> None:
    stop = StopController(None, math.inf, World(), CPU)
    before = signal.getsignal(signal.SIGTERM)
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.due(0) == "stop"
        with pytest.raises(Interrupted) as stopped:
            stop.raise_if_asked()
        assert stopped.value.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before
    heard: list[bool] = []

    def elsewhere() -> None:
        with StopController(None, math.inf, World(), CPU).listening():
            heard.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [True]


def test_a_closed_terminal_is_heard_once_unless_it_is_ignored() -> None:
    """The shell and the kernel both send SIGHUP; `nohup` has it ignored."""
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        stop = StopController(None, math.inf, World(), CPU)
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.due(0) == "stop"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop = StopController(None, math.inf, World(), CPU)
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.due(0) is None
    finally:
        signal.signal(signal.SIGHUP, before)
