"""Two processes that train together, of which one is killed, or refused: none hangs, and the same command continues.

The processes are forked, which saves each the seconds of importing torch.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from ends import contents, fork_world, killed_at, recipe, train, write_data
from packs import write_pack

from fastsketch.config import Recipe
from fastsketch.recipes import load_recipe
from fastsketch.training import fit as fit_module
from fastsketch.training.execution.distributed import World
from fastsketch.training.run import stop
from fastsketch.training.run.directory import Run

pytestmark = pytest.mark.skipif(torch.cuda.is_initialized(), reason="a process that uses a GPU cannot be forked")

KILLED, TOLD, DONE = -signal.SIGKILL, 1, 0


@pytest.fixture(scope="module", autouse=True)
def saving_after_every_step() -> Iterator[None]:
    """Not after every 16th alone, of which an epoch here has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stop, "AGREEMENT_STEPS", 1)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    # Dropout is each process's own, so are batch statistics: the same in every run of two.
    return recipe(write_data(tmp_path_factory.mktemp("data") / "set"), "training.epochs=1")


@pytest.fixture(scope="module")
def undisturbed(config: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert fork_world([lambda: train(config, root)] * 2, root.parent / "report") == [DONE, DONE]
    return root


def ended(root: Path) -> dict[str, object]:
    """What a run left, its training loss to five digits: a saved sum is that of both processes, rounded once more."""
    found = contents(root)
    for name in ("metrics.jsonl", "metrics.csv"):
        found[name] = [{**row, "train_loss": f"{float(row['train_loss']):.5g}"} for row in found[name]]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("rank", "name"),
    [
        (1, "before validation"),
        (0, "after step 1"),
        pytest.param(0, "in validation", marks=pytest.mark.slow),
        pytest.param(0, "after validation", marks=pytest.mark.slow),
        pytest.param(0, "resume.previous.pt", marks=pytest.mark.slow),
        pytest.param(0, "last/model.safetensors", marks=pytest.mark.slow),
        pytest.param(0, "best/config.json", marks=pytest.mark.slow),
        pytest.param(0, "metrics.jsonl", marks=pytest.mark.slow),
        pytest.param(1, "in validation", marks=pytest.mark.slow),
    ],
)
def test_h6_when_one_is_killed_the_other_ends_in_a_line_and_both_go_on(
    config: Recipe, undisturbed: Path, tmp_path: Path, rank: int, name: str
) -> None:
    root, report = tmp_path / "run", tmp_path / "report"

    def broken() -> None:
        train(config, root, killed_at(name))

    def other() -> None:
        train(config, root)

    codes = fork_world([broken if each == rank else other for each in range(2)], report)
    assert codes[rank] == KILLED
    assert codes[1 - rank] == TOLD
    assert report.with_suffix(f".{1 - rank}").read_text().startswith("another process of this training has ended")
    assert fork_world([other, other], report) == [DONE, DONE]
    assert ended(root) == ended(undisturbed)


def test_h5_all_processes_are_refused_a_directory_that_is_held(config: Recipe, tmp_path: Path) -> None:
    root, report = tmp_path / "run", tmp_path / "report"
    with Run(root).held():
        assert fork_world([lambda: train(config, root)] * 2, report) == [TOLD, TOLD]
    assert "another process is writing" in report.with_suffix(".0").read_text()
    assert "says why" in report.with_suffix(".1").read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["optimizer.lr=1e-2"], "optimizer.lr is 0.05 in process 0 of this training, but 0.01 in 1"),
        (["data.path=other"], "the data set's checksum is"),
        (["data.path=missing"], "process 1 of this training cannot begin: missing: no such folder"),
        (["training.device=cuda:7"], "process 1 of this training cannot begin: device 'cuda:"),
    ],
)
def test_what_machines_do_not_have_in_common_is_told_before_they_train(
    config: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pack(Path("other"), {"train": 44, "val": 20}, 32)
    root, report = Path("run"), Path("report")
    other = load_recipe(config, changes)
    assert fork_world([lambda: train(config, root), lambda: train(other, root)], report) == [TOLD, TOLD]
    assert report.with_suffix(".0").read_text().startswith(told)
    assert not root.exists()


def test_a_machine_may_have_the_data_set_elsewhere(config: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    assert config.data.path is not None
    other = load_recipe(config, data__path=shutil.copytree(config.data.path, tmp_path / "other"))
    root = tmp_path / "run"
    assert fork_world([lambda: train(config, root), lambda: train(other, root)], tmp_path / "report") == [DONE, DONE]
    assert ended(root) == ended(undisturbed)


def test_a_run_that_only_one_machine_sees_is_not_continued(
    config: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "STALE", 0.0)
    root, report = tmp_path / "run", tmp_path / "report"
    killed = [lambda: train(config, root, killed_at("after step 2")), lambda: train(config, root)]
    assert fork_world(killed, report) == [KILLED, TOLD]
    elsewhere = tmp_path / "elsewhere"
    assert fork_world([lambda: train(config, root), lambda: train(config, elsewhere)], report) == [TOLD, TOLD]
    told = report.with_suffix(".0").read_text()
    assert told.startswith(f"1 of 2 processes do not see in {root} what the first one sees there")
    assert "says why" in report.with_suffix(".1").read_text()
    shutil.copytree(root, elsewhere)
    assert fork_world([lambda: train(config, root), lambda: train(config, elsewhere)], report) == [DONE, DONE]


def test_processes_hear_the_first_one_and_how_many_differ(tmp_path: Path) -> None:
    cpu = torch.device("cpu")

    def hears(words: str) -> None:
        world = World.of_environment()
        with world.joined(cpu, {}):
            heard = [world.first(words, cpu), world.unlike(words, cpu), world.unlike("alike", cpu)]
        (tmp_path / f"{world.rank}").write_text(json.dumps(heard))

    words = ("größer", "", "größer")
    assert fork_world([partial(hears, each) for each in words], tmp_path / "report") == [DONE] * 3
    assert [json.loads((tmp_path / f"{rank}").read_text()) for rank in range(3)] == [["größer", 1, 0]] * 3


def test_a_finished_run_says_so_in_all_processes(config: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    before = contents(undisturbed)
    assert fork_world([lambda: train(config, undisturbed)] * 2, tmp_path / "report") == [DONE, DONE]
    assert contents(undisturbed) == before
