"""The run directory: whose it is, what is in it, and what becomes of what is missing, damaged or not writable."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
from ends import contents, recipe, train, write_data

from fastsketch import convert
from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training import trainer
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run
from fastsketch.training.run.resume import RESUME_VERSION, previous_resume, save_resume, saved_states


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "finished"
    train(recipe(data), root)
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A run of two epochs, finished."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "fastsketch")
    return caplog


def longer(data: Path) -> Recipe:
    return recipe(data, "training.epochs=3")


def begin(config: Recipe, root: Path) -> None:
    """Train no longer than a step."""

    def stop(name: str) -> None:
        if name == "after step 1" or name == "before validation":
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train(config, root, stop)


# ------------------------------------------------------------------------------------------------------ whose it is


@pytest.mark.parametrize(
    "name", ["metrics.csv", "metrics.jsonl", "run.json", "dataset.json", "best/mine.txt", "plots/curves.png"]
)
def test_a_new_run_writes_over_nothing_of_others(data: Path, tmp_path: Path, name: str) -> None:
    theirs = tmp_path / "mine" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody's own")
    with pytest.raises(ConfigError, match="is in the way of a new run"):
        fit(recipe(data), Run(tmp_path / "mine"))
    assert theirs.read_text() == "somebody's own"
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [theirs]


def test_a_data_set_is_no_folder_for_a_run(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "set")
    before = contents(copy)
    with pytest.raises(ConfigError, match="is a data set, no folder for a run"):
        fit(recipe(copy), Run(copy))
    assert contents(copy) == before


@pytest.mark.parametrize("name", ["cat", "train", "exports"])
def test_a_run_does_not_go_in_among_others_folders(data: Path, tmp_path: Path, name: str) -> None:
    """In a folder of sketches it would be taken for classes, and `convert` would take the sketches for a data set."""
    (tmp_path / "mine" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"mine is no folder for a run: it holds '{name}'") as caught:
        fit(recipe(data), Run(tmp_path / "mine"))
    assert str(tmp_path / "mine" / "run") in str(caught.value.hint)
    assert not any(path.is_file() for path in (tmp_path / "mine").rglob("*"))


def test_a_run_is_no_data_set(copy: Path) -> None:
    with pytest.raises(ConfigError, match="run is a run directory, not a data set"):
        DatasetMetadata.load(copy)
    with pytest.raises(ConfigError, match="run is a run directory, not a data set"):
        convert(copy, copy.parent / "out")
    with pytest.raises(ConfigError, match="run is a run directory, not a data set"):
        fit(recipe(copy), Run(copy.parent / "other"))
    (copy / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"dataset\.json is missing"):
        Run(copy).dataset()


def test_somebody_s_recipe_may_lie_in_a_data_set(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "set")
    (copy / "config.yaml").write_text("")
    assert DatasetMetadata.load(copy) == DatasetMetadata.load(data)


def test_what_is_in_nobody_s_way_stays(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "run" / "train.log"  # `> run/train.log` makes it before the run is there
    for folder in (".ipynb_checkpoints", "export", "lost+found"):
        (log.parent / folder).mkdir(parents=True)
    log.write_text("a log")
    fit(recipe(data), Run(log.parent))
    assert log.read_text() == "a log"


def test_h5_two_trainings_never_share_a_directory(data: Path, tmp_path: Path) -> None:
    root, refused = tmp_path / "run", []

    def second(name: str) -> None:
        if name == "after step 1" and not refused:
            for resume in (True, False):
                with pytest.raises(FastSketchError, match="another process is writing") as caught:
                    fit(recipe(data), Run(root), resume=resume)
                refused.append(caught.value.hint)

    train(recipe(data), root, second)
    assert refused[0] == "wait until that training is done, or choose another --out"
    fit(recipe(data), Run(root), resume=True)  # it was let go


def test_h5_a_directory_is_waited_for_as_long_as_patience_lasts(tmp_path: Path) -> None:
    run, held = Run(tmp_path / "run"), ExitStack()
    with held:
        held.enter_context(run.held())
        with pytest.raises(FastSketchError, match="another process is writing"), run.held(patience=0.3):
            pass
        Timer(0.3, held.close).start()
        with run.held(patience=30):
            pass


def test_m15_what_killed_processes_left_half_written_goes(copy: Path, data: Path) -> None:
    mark = "fastsketch-writes-999999999"
    strays = [copy / f".resume.{mark}.pt", copy / f"best/.model.{mark}.safetensors"]
    picture = copy / f"plots/.confusion.{mark}.png"  # may be one that `evaluate` is writing at this moment
    picture.write_bytes(b"half")
    for stray in strays:
        stray.write_bytes(b"half")
    (copy / ".mine").write_bytes(b"somebody's")
    train(recipe(data), copy)
    assert not any(stray.exists() for stray in strays)
    assert picture.exists()
    assert (copy / ".mine").exists()


def test_a_refused_training_leaves_no_directory(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        fit(recipe(data, "model.name=resnet5O"), Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["file", "file/run", "x" * 300])
def test_a_directory_that_cannot_be_is_told(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(ConfigError) as caught:
        fit(recipe(data), Run(tmp_path / name))
    assert caught.value.hint == "choose another --out"
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_directory_that_is_not_ours_to_write_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may be root's
    with pytest.raises(ConfigError, match="not yours to write"):
        fit(recipe(data), Run(tmp_path))


# ---------------------------------------------------------------------------------------------------- finished runs


def test_a_finished_run_says_so_and_does_nothing(
    copy: Path, data: Path, notes: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "create_model", None)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert train(recipe(data), copy) == 0
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert "is finished, 2 epochs; more --epochs continue it" in notes.text


def test_more_epochs_say_from_which_rate_to_which(copy: Path, data: Path, notes: pytest.LogCaptureFixture) -> None:
    begin(longer(data), copy)
    [line] = [each for each in notes.messages if "instead of" in each]
    assert line == "3 epochs instead of 2: the learning rate steps from 0.00732 to 0.0125"


def test_a_run_of_one_step_brings_no_warning_of_the_schedule(
    data: Path, tmp_path: Path, notes: pytest.LogCaptureFixture
) -> None:
    train(recipe(data, "training.epochs=1", "data.batch_size=40"), tmp_path / "run")
    assert "no effect" not in notes.text


# ---------------------------------------------------------------------------------------------------- what is gone


@pytest.mark.parametrize("gone", ["plots", "last", "best", "config.yaml", "metrics.jsonl", "metrics.csv", "run.json"])
def test_what_is_gone_is_made_again(copy: Path, data: Path, gone: str) -> None:
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(recipe(data), copy)
    assert path.exists() or gone == "run.json"
    train(longer(data), copy)
    assert Run(copy).best.is_dir()


def test_a_best_model_that_is_gone_is_told_and_the_next_takes_its_place(
    copy: Path, data: Path, notes: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(copy / "best")
    path = copy / "resume.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "best_epoch": 1, "best_top1": 1.0}, path)
    train(longer(data), copy)
    assert "best, with the weights of epoch 1, is gone" in notes.text
    assert (copy / "best/model.safetensors").is_file()


def test_without_resume_pt_a_trained_run_is_not_begun_anew(copy: Path, data: Path) -> None:
    (copy / "resume.pt").unlink()
    previous_resume(copy / "resume.pt").unlink()
    before = contents(copy)
    with pytest.raises(ConfigError, match=r"2 epochs, but no resume\.pt"):
        train(recipe(data), copy)
    assert contents(copy) == before


# ------------------------------------------------------------------------------------------------- edited settings


def test_an_edited_config_does_not_become_another_training(copy: Path, data: Path) -> None:
    path = copy / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("lr: 0.05", "lr: 0.5").replace("batch_size: 16", "batch_size: 8", 1))
    with pytest.raises(ConfigError) as caught:
        fit(Run(copy).recipe(["training.epochs=3"]), Run(copy), resume=True)
    assert "data.batch_size=16, not 8; optimizer.lr=0.05, not 0.5" in caught.value.message  # 15: all of them
    path.write_text(text.replace("save_minutes: 0.0", "save_minutes: 9.0"))
    fit(Run(copy).recipe(["training.epochs=3"]), Run(copy), resume=True)


def test_renamed_classes_do_not_become_another_training(copy: Path, data: Path, tmp_path: Path) -> None:
    for folder in (copy, shutil.copytree(data, tmp_path / "renamed")):
        path = folder / "dataset.json"
        path.write_text(path.read_text().replace('"ant"', '"emu"'))
    with pytest.raises(FastSketchError):  # of the data set's own checksum, or of the run
        fit(recipe(tmp_path / "renamed", "training.epochs=3"), Run(copy), resume=True)


def test_a_damaged_config_is_one_line_and_the_same_command_mends_it(copy: Path, data: Path) -> None:
    expected = (copy / "config.yaml").read_bytes()
    (copy / "config.yaml").write_text("{")
    with pytest.raises(ConfigError, match="not YAML"):
        Run(copy).recipe()
    train(recipe(data), copy)
    assert (copy / "config.yaml").read_bytes() == expected


def test_before_anything_is_saved_an_edited_config_counts(data: Path, tmp_path: Path) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(data), tmp_path, stop)
    train(recipe(data, "optimizer.lr=1e-3"), tmp_path)
    assert Run(tmp_path).recipe().optimizer.lr == 1e-3


# --------------------------------------------------------------------------------------------------- M7: resume.pt


def _without(key: str) -> Any:
    return lambda state: {name: value for name, value in state.items() if name != key}


def _with(**values: Any) -> Any:
    return lambda state: {**state, **values}


def _first_moment(state: dict[str, Any]) -> dict[str, Any]:
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3, 3)
    return state


WRONG = {
    "a list": lambda state: [state],
    "a number": lambda state: 5,
    "nothing": lambda state: {},
    "another key": _with(more=1),
    **{f"no {key}": _without(key) for key in ("model", "ema", "optimizer", "scaler", "loss_sum", "records")},
    **{f"without {key}": _without(key) for key in ("epoch", "steps", "recipe", "classes", "format_version")},
    "epoch NaN": _with(epoch=float("nan")),
    "epoch -1": _with(epoch=-1),
    "epoch 1": _with(epoch=1),
    "epoch 10**30": _with(epoch=10**30),
    "epoch true": _with(epoch=True),
    "steps -3": _with(steps=-3),
    "steps 3 of 2": _with(steps=3),
    "steps a tensor": _with(steps=torch.tensor(1)),
    "seconds inf": _with(seconds=float("inf")),
    "best 2": _with(best_top1=2.0),
    "best NaN": _with(best_top1=float("nan")),
    "best epoch 9": _with(best_epoch=9),
    "loss NaN": _with(loss_sum=float("nan")),
    "version as text": _with(format_version=str(RESUME_VERSION)),
    "model a list": _with(model=[1]),
    "model empty": _with(model={}),
    "ema none": _with(ema=None),
    "shapes": lambda state: {**state, "model": {name: torch.zeros(2) for name in state["model"]}},
    "optimizer empty": _with(optimizer={}),
    "optimizer other": _with(optimizer={"state": {}, "param_groups": [{"params": [0]}]}),
    "moments": _first_moment,
    "records other": _with(records=[{"epoch": 1}]),
    "recipe other": _with(recipe={"x": 1}),
    "recipe a list": _with(recipe=[]),
    "classes numbers": _with(classes=[1, 2]),
}


@pytest.mark.parametrize("name", WRONG)
def test_m7_a_wrong_state_falls_back_to_the_one_before(
    finished: Path, copy: Path, data: Path, notes: pytest.LogCaptureFixture, name: str
) -> None:
    path = copy / "resume.pt"
    torch.save(WRONG[name](torch.load(path, weights_only=True)), path)
    begin(longer(data), copy)
    [line] = [each for each in notes.messages if "resume.pt is damaged" in each or "resume.pt does not fit" in each]
    assert "\n" not in line
    assert "continuing in epoch 2 after step 2" in notes.text
    assert Run(copy).recipe().training.epochs == 3


def test_m7_a_flipped_bit_or_a_cut_is_noticed(copy: Path, data: Path) -> None:
    path = copy / "resume.pt"
    whole, weights = path.read_bytes(), next(iter(torch.load(path, weights_only=True)["model"].values()))
    assert next(saved_states(path)).origin == path
    for place in range(0, len(whole), len(whole) // 10):
        path.write_bytes(whole[:place])
        assert next(saved_states(path)).origin == previous_resume(path)
    inside = whole.index(weights.numpy().tobytes())
    path.write_bytes(whole[:inside] + bytes([whole[inside] ^ 1]) + whole[inside + 1 :])
    assert next(saved_states(path)).origin == previous_resume(path)


def test_m7_where_both_are_wrong_it_is_told_in_a_line(copy: Path, data: Path) -> None:
    for path in (copy / "resume.pt", previous_resume(copy / "resume.pt")):
        state = torch.load(path, weights_only=True)
        torch.save({**state, "model": {}}, path)
    before = contents(copy / "last")
    with pytest.raises(DataError, match="cannot be used, nor what was saved before it") as caught:
        train(longer(data), copy)
    assert "\n" not in caught.value.message
    assert contents(copy / "last") == before


def test_m7_another_version_is_told(copy: Path, data: Path) -> None:
    path = copy / "resume.pt"
    torch.save({**torch.load(path, weights_only=True), "format_version": 99}, path)
    with pytest.raises(DataError, match=f"version 99, this fastsketch reads version {RESUME_VERSION}"):
        train(longer(data), copy)


class Mischief:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch mischief",)


def test_m7_nothing_but_tensors_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format_version": RESUME_VERSION, "model": Mischief()}, tmp_path / "resume.pt")
    with pytest.raises(DataError):
        next(saved_states(tmp_path / "resume.pt"))
    assert not (tmp_path / "mischief").exists()
    assert list(saved_states(tmp_path / "none.pt")) == []


# ------------------------------------------------------------------------------------------- M3, M4: metrics.jsonl


def _line(**changes: str) -> Any:
    def change(text: str) -> str:
        for key, value in changes.items():
            start = text.index(f'"{key}": ') + len(key) + 4
            text = text[:start] + value + text[text.index(",", start) :]
        return text

    return change


DAMAGED = {
    "empty": lambda text: "",
    "shortened": lambda text: text.splitlines()[0] + "\n",
    "cut": lambda text: text[:-20],
    "in another order": lambda text: "\n".join(reversed(text.splitlines())),
    "no JSON": lambda text: "{" + text,
    "a list": lambda text: "[1, 2]\n",
    "nested": lambda text: "[" * 100_000,
    "other epoch": _line(epoch="7"),
    "loss NaN": _line(train_loss="NaN"),
    "accuracy 2": _line(val_top1="2.0"),
    "a word": _line(val_loss='"x"'),
    "another best": _line(val_top1="0.99"),
}


@pytest.mark.parametrize("again", [recipe, longer], ids=["finished", "continued"])
@pytest.mark.parametrize("name", DAMAGED)
def test_m3_m4_damaged_or_shortened_metrics_are_written_anew(
    finished: Path, copy: Path, data: Path, notes: pytest.LogCaptureFixture, name: str, again: Any
) -> None:
    path = copy / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(DAMAGED[name](whole))
    begin(again(data), copy)
    assert path.read_text().startswith(whole)
    assert len((copy / "metrics.csv").read_text().splitlines()) == len(path.read_text().splitlines()) + 1
    assert notes.text.count("did not hold what the run has done, and is written anew") == 1


# ----------------------------------------------------------------------------------------------- M1, M2: full disks


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("size", "file"),
    [
        (200, "/run"),
        (3_000, "config.json|model.safetensors|resume.pt|run.json"),
        (300_000, "model.safetensors|resume.pt"),
    ],
)
def test_m1_m2_a_full_disk_is_one_line_that_names_the_file(data: Path, tmp_path: Path, size: int, file: str) -> None:
    config, whole, root = recipe(data), tmp_path / "whole", tmp_path / "run"
    train(config, whole)
    with files_of_at_most(size), pytest.raises(FastSketchError, match=f"({file}) cannot be written: ") as caught:
        train(config, root)
    assert caught.value.exit_code == 1
    assert "\n" not in caught.value.message
    assert "the same command continues" in (caught.value.hint or "")
    assert not list(root.rglob(".*"))
    train(config, root)
    assert contents(root) == contents(whole)


def test_m1_what_was_saved_before_stays_whole(copy: Path, data: Path) -> None:
    before = contents(copy)
    with files_of_at_most(20_000), pytest.raises(FastSketchError, match="cannot be written"):
        train(longer(data), copy)
    after = contents(copy)
    assert all(
        after[name] == before[name] for name in before if name.split("/")[0] in ("last", "best", "metrics.jsonl")
    )
    path = copy / "resume.pt"
    with files_of_at_most(20_000), pytest.raises(FastSketchError, match=r"resume\.pt cannot be written"):
        save_resume(path, {"weights": torch.ones(1_000_000)})
    assert next(saved_states(path)).epoch == 2
