"""The bar: 1,000 single flipped bits over all files of a data set, each one told by `train` before the second epoch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from flips import flipped, spread_bits
from packs import write_all_formats, write_pack

from fastsketch.config import Recipe
from fastsketch.errors import DataError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats import verification
from fastsketch.formats.blocks import blocks
from fastsketch.formats.verification import Verifier
from fastsketch.recipes import load_recipe
from fastsketch.training import checkpointer
from fastsketch.training.assurance import assured
from fastsketch.training.data import open_data
from fastsketch.training.execution.distributed import RefusedElsewhere, World
from fastsketch.training.fit import fit
from fastsketch.training.run import stop
from fastsketch.training.run.directory import Run
from fastsketch.training.run.stop import Interrupted, StopController

COUNTS = {"train": 8, "val": 4, "test": 4}
SIZE = 16
LOADERS = {"resident": 45, "pack": 12, "dali": 12, "ffcv": 4}
"""How many bits are flipped in the quick test: FFCV compiles for every loader."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ffcv")
    folder = tmp_path_factory.mktemp("flipped") / "data"
    write_all_formats(folder, COUNTS, SIZE)
    return folder


def recipe(data: Path, *overrides: str) -> Recipe:
    fixed = ["model.name=test_resnet", "data.batch_size=8", "training.device=cpu", "training.compile=eager"]
    return load_recipe(None, [*fixed, *overrides], data__path=str(data), training__epochs=2)


def told(data: Path, run: Path, file: str, bit: int, *overrides: str) -> None:
    """Train, and be told of a file before there is a result of any epoch."""
    with flipped(data / file, bit), pytest.raises(DataError) as caught:
        fit(recipe(data, *overrides), Run(run), on_epoch=lambda record: pytest.fail(f"bit {bit} of {file} was learned"))
    assert str(data / file) in caught.value.message
    assert "\n" not in caught.value.message
    assert not (run / "metrics.jsonl").exists()
    assert not (run / "best" / "model.safetensors").exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "verifier"]


@pytest.mark.parametrize("loader", LOADERS)
def test_flipped_bits_are_told(data: Path, tmp_path: Path, loader: str) -> None:
    """Low: flipped pixels, ids, ink counts and labels are trained on; M12; a few bits in every file."""
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    files = {file for file, _ in spread_bits(data, 100, seed=1)}
    assert len(files) == 1 + 3 * (4 + 1 + 2)
    bits = spread_bits(data, 5 * len(files), seed=1)
    if loader != "resident":  # what this loader reads, and by turns all else
        own = "beton" if loader == "ffcv" else "tar" if loader == "dali" else "images"
        bits = sorted(bits, key=lambda bit: own not in bit[0])
    for number, (file, bit) in enumerate(bits[: LOADERS[loader]]):
        told(data, tmp_path / str(number), file, bit, f"data.loader={loader}")


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_told(data: Path, tmp_path: Path) -> None:
    for number, (file, bit) in enumerate(spread_bits(data, 1000, seed=0)):
        told(data, tmp_path / str(number), file, bit)


def test_what_is_whole_trains(data: Path, tmp_path: Path) -> None:
    assert len(fit(recipe(data), Run(tmp_path / "run"))) == 2
    assert not [thread for thread in threading.enumerate() if thread.name == "verifier"]


def test_a_run_of_one_epoch_tells_before_its_end(data: Path, tmp_path: Path) -> None:
    with flipped(data / "test.beton", 8 * 9_000_000), pytest.raises(DataError, match=r"test\.beton"):
        fit(recipe(data, "training.epochs=1"), Run(tmp_path / "run"))


@pytest.mark.parametrize("save_minutes", [0, 5])
def test_no_result_counts_before_all_is_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_minutes: int
) -> None:
    """However fast the epoch is and however slow the disk; a step that was saved before is told to be in doubt."""
    trained = threading.Event()

    def late(path: Path) -> Iterator[memoryview]:
        trained.wait(30)
        yield from blocks(path)

    monkeypatch.setattr(verification, "blocks", late)
    with flipped(data / "val.beton", 8 * 9_000_000), pytest.raises(DataError, match=r"val\.beton") as told:
        fit(
            recipe(data, f"training.save_minutes={save_minutes}"),
            Run(tmp_path / "run"),
            on_step=lambda epoch, step, steps: trained.set(),
            on_epoch=lambda record: pytest.fail("learned"),
        )
    run, saved = Run(tmp_path / "run"), save_minutes == 0
    assert run.resume_path.exists() == saved
    assert ("train anew in another --out" in (told.value.hint or "")) == saved
    assert not run.metrics.exists()
    assert not (run.best / "model.safetensors").exists()


@pytest.mark.parametrize("ending", ["max_minutes", "Ctrl-C"])
def test_a_slow_disk_costs_nothing_of_a_session(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Until all is read the epoch waits, but saves and stops when that is due; the next session counts it."""
    over, run, now, finished = threading.Event(), Run(tmp_path / "run"), [0.0], Verifier.finished

    def slow(path: Path) -> Iterator[memoryview]:
        assert over.wait(60)
        yield from blocks(path)

    def waiting(verifier: Verifier, timeout: float | None = None) -> bool:
        if timeout and (done := finished(verifier, 0.01)) is False:  # the wait at the end of the epoch
            if not run.resume_path.exists():
                now[0] += 301  # a save is due
            elif ending == "Ctrl-C":
                os.kill(os.getpid(), signal.SIGINT)
            else:
                now[0] += 3600
            return done
        return finished(verifier, timeout)

    def save(*arguments: object) -> None:
        save_resume(*arguments)
        saves.append(now[0])
        if len(saves) == 2:
            over.set()  # after the end, the thread is joined

    saves: list[float] = []
    save_resume = checkpointer.save_resume
    with monkeypatch.context() as patch:
        patch.setattr(verification, "blocks", slow)
        patch.setattr(Verifier, "finished", waiting)
        patch.setattr(stop, "perf_counter", lambda: now[0])
        patch.setattr(checkpointer, "save_resume", save)
        config = recipe(data, "training.max_minutes=60")
        if ending == "Ctrl-C":
            with pytest.raises(Interrupted):
                fit(config, run)
        else:
            assert fit(config, run) == []
    assert len(saves) == 2
    assert not run.metrics.exists()
    assert not run.best.joinpath("model.safetensors").exists()
    steps: list[int] = []
    assert len(fit(recipe(data), run, resume=True, on_step=lambda *step: steps.append(step[0]))) == 2
    assert set(steps) == {2}


def test_a_last_run_on_train_and_val_tells(data: Path, tmp_path: Path) -> None:
    for file in ("val.images.u8", "test-00000.tar"):
        told(data, tmp_path / file, file, 8 * 700, "data.train_split=train+val")


def test_what_is_damaged_later_is_told_by_the_session_that_goes_on(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(data), run)
    before = run.metrics.read_bytes()
    for file in ("train.images.u8", "test.ids.jsonl"):
        with flipped(data / file, 8), pytest.raises(DataError, match=file):
            fit(recipe(data, "training.epochs=3"), run, resume=True)
    assert run.metrics.read_bytes() == before
    assert len(fit(recipe(data, "training.epochs=3"), run, resume=True)) == 3


def test_told_not_to_verify_it_learns_pixels_as_they_are_but_no_labels(data: Path, tmp_path: Path) -> None:
    with flipped(data / "train.images.u8", 8), flipped(data / "test-00000.tar", 8):
        assert len(fit(recipe(data, "data.verify=false"), Run(tmp_path / "run"))) == 2
    told(data, tmp_path / "again", "train.labels.i64", 8, "data.verify=false")


@pytest.mark.parametrize("damaged", ["val.images.u8", "val.labels.i64", "val.beton", "val-00000.idx"])
def test_evaluate_tells(data: Path, tmp_path: Path, damaged: str) -> None:
    run = Run(tmp_path / "run")
    fit(recipe(data, "training.epochs=1"), run)
    with flipped(data / damaged, 8 * 13):
        with pytest.raises(DataError, match=damaged):
            evaluate_run(run, "val", device="cpu")
        assert not list(run.evaluation.glob("*"))
        evaluate_run(run, "test", device="cpu")
        if "labels" not in damaged:
            evaluate_run(run, "val", device="cpu", verify=False)


def test_a_run_that_is_stopped_waits_for_no_file(tmp_path: Path) -> None:
    """An hour of reading is before the verifier: Ctrl-C and the end of the first epoch's steps do not wait for it."""
    metadata = write_pack(tmp_path / "data", {"train": 16, "val": 4, "test": 4}, SIZE)
    test = metadata.splits["test"]
    files = {**test.files, "images": test.files["images"].model_copy(update={"bytes": 1 << 40})}
    splits = {**metadata.splits, "test": test.model_copy(update={"files": files, "samples": (1 << 40) // SIZE**2})}
    os.truncate(tmp_path / "data" / "test.images.u8", 1 << 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(metadata), "load", lambda folder: metadata.model_copy(update={"splits": splits}))

        def interrupt(epoch: int, step: int, steps: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit(recipe(tmp_path / "data"), Run(tmp_path / "run"), on_step=interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name == "verifier"]


@pytest.mark.parametrize(("rank", "error"), [(0, DataError), (1, RefusedElsewhere)])
def test_what_another_process_finds_ends_all_and_the_first_one_says_so(rank: int, error: type[Exception]) -> None:
    answers = iter([False, True])  # nobody is reading any more, and somebody has found damage

    class Elsewhere(World):
        def anywhere(self, found: bool, device: torch.device) -> bool:
            assert not found
            return next(answers)

    world, device = Elsewhere(rank, rank, 2), torch.device("cpu")
    with Verifier(Path(), ()) as verifier, pytest.raises(error) as caught:
        assured(verifier, StopController(None, 5, world, device), lambda: None, world, device)
    assert rank or "another machine's copy of the data set is damaged" in str(caught.value)
    assert next(answers, None) is None


def test_one_process_of_each_machine_reads_what_the_loaders_do_not(tmp_path: Path) -> None:
    """A copy of one's own may be damaged where the first machine's is not."""
    dataset = write_pack(tmp_path / "data", {"train": 16, "val": 4, "test": 4}, SIZE)
    read = {}
    for rank, local_rank in ((0, 0), (1, 1), (2, 0), (3, 1)):
        data = open_data(recipe(tmp_path / "data"), dataset, torch.device("cpu"), World(rank, local_rank, 4))
        read[rank] = [file.name for file in data.verifier._files]
    assert read[0] == read[2] != []
    assert read[1] == read[3] == []


@pytest.mark.slow
def test_two_processes_both_end(tmp_path: Path) -> None:
    """Rank 0 reads, all end, in one line."""
    write_pack(tmp_path / "data", {"train": 16, "val": 4, "test": 4}, SIZE)
    with flipped(tmp_path / "data" / "test.images.u8", 8):
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fastsketch", "train")
        options = ("--model", "test_resnet", "--device", "cpu", "--epochs", "2", "--set", "data.batch_size=8")
        command = [sys.executable, *launch, str(tmp_path / "data"), *options, "--out", str(tmp_path / "run")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode != 0
    assert result.stderr.count("test.images.u8 is not as it was written") == 1, result.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
