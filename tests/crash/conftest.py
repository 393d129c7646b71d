"""What the tests of crash points share: the process that forks the commands, a few sketches, a data set, a run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from crash.harness import Scenario, Zygote
from shapes import draw_shape

CLASSES = {"circle": "a circle", "cross": "cross (×)", "square": "square"}

CONVERT = ("--size", "32", "--split", "4/2/0", "--workers", "1")
"""Twelve images to train on and six to validate with."""

SMALL = {
    "fastsketch.conversion.convert.CHUNK": 6,
    "fastsketch.conversion.convert.JOURNAL_SECONDS": 0,
    "fastsketch.formats.beton.PAGE": 1024,
}
"""Three chunks with a journal entry each, and files of kilobytes."""

TRAIN = (
    *("--model", "test_efficientnet", "--device", "cpu", "--epochs", "2", "--set", "data.batch_size=6"),
    *("--set", "training.save_minutes=0"),
)
"""Two epochs of two steps, each of them saved."""

MODULES = {
    "convert": ("fastsketch.conversion", "fastsketch.figures.contact_sheet", "fastsketch_cli.app"),
    "ffcv": ("fastsketch.conversion", "fastsketch_cli.app", "ffcv.types", "ffcv.fields"),
    "train": (
        *("fastsketch.training.fit", "fastsketch.evaluation", "fastsketch.figures.curves", "fastsketch_cli.app"),
        *("fastsketch.figures.augmentation", "fastsketch.figures.confusion", "fastsketch.figures.mistakes"),
        *("fastsketch.figures.tokens", "fastsketch.evaluation.measure", "fastsketch.training.token_preview"),
    ),
}
"""What commands of each kind import."""

MakeScenario = Callable[..., Scenario]


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """`faults.c`, compiled; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    return library if subprocess.run(command, capture_output=True).returncode == 0 else None


@pytest.fixture
def needs_faults(faults: Path | None) -> None:
    """Skip where the C library's calls cannot be disturbed."""
    if faults is None:
        pytest.skip("no C compiler that makes a library to preload")


@pytest.fixture(scope="session")
def zygote(memory: Path, faults: Path | None) -> Iterator[Callable[[str], Zygote]]:
    """A function from the names in MODULES to the process that forks such commands."""
    started: dict[str, Zygote] = {}

    def get(kind: str) -> Zygote:
        if kind not in started:
            scratch = memory / kind
            scratch.mkdir()
            started[kind] = Zygote(scratch, faults, MODULES[kind])
        return started[kind]

    yield get
    for each in started.values():
        each.close()


@pytest.fixture(scope="session")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but `raw`: 3 classes of 6 drawn shapes at 28 px."""
    root = tmp_path_factory.mktemp("sketches")
    rng = np.random.default_rng(0)
    for name, shape in CLASSES.items():
        (root / "raw" / name).mkdir(parents=True)
        for index in range(6):
            draw_shape(shape, rng, 28).save(root / "raw" / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def scenario(memory: Path, zygote: Callable[[str], Zygote]) -> MakeScenario:
    """A function (before, *arguments, refusal=None): that command in a copy of the folder `before`."""

    def make(before: Path, *arguments: str, refusal: str | None = None) -> Scenario:
        kind = "train" if arguments[0] not in ("convert", "inspect") else "ffcv" if "all" in arguments else "convert"
        return Scenario(zygote(kind), memory / "folder", before, arguments, SMALL, refusal)

    return make


@pytest.fixture(scope="session")
def after(tmp_path_factory: pytest.TempPathFactory, scenario: MakeScenario) -> Callable[..., Path]:
    """A function (before, *arguments): a copy of what the folder `before` becomes by that command."""

    def run(before: Path, *arguments: str) -> Path:
        command = scenario(before, *arguments)
        assert command.expected
        return shutil.copytree(command.folder, tmp_path_factory.mktemp("after") / "folder")

    return run


@pytest.fixture(scope="session")
def dataset(sketches: Path, after: Callable[..., Path]) -> Path:
    """A folder with nothing but `data`, a data set."""
    folder = after(sketches, "convert", "raw", "data", *CONVERT)
    shutil.rmtree(folder / "raw")
    return folder


@pytest.fixture(scope="session")
def trained(dataset: Path, after: Callable[..., Path]) -> Path:
    """A folder with `data` and `run`, a finished training."""
    return after(dataset, "train", "data", "--out", "run", *TRAIN)
