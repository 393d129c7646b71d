"""What all tests share: the device, the shared data, a tiny data set of drawn shapes, the command in a real process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from shapes import CLASSES, draw_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastsketch.formats.metadata import DatasetMetadata
    from fastsketch.training.run.directory import Run

# The tests' networks are tiny: a second thread costs more than it gains, and on a busy machine a hundred times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What `fastsketch tune` found on this machine must not change what the tests do.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="fastsketch-tests-")

# Nobody cuts a test's power. Flushing takes 7 ms a file, more than a tiny training has to compute between two of them;
# that it is done, and when, is a test of `atomic`, and `tests/crash` has processes of its own.
os.fsync = lambda descriptor: None

# Whoever runs the tests in the background of a shell has Ctrl-C ignored, and all that they start with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A test that fails by chance teaches nobody: hypothesis draws the same examples every time.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = dict(zip(("circle", "cross", "square"), CLASSES, strict=True))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tests that take one: cpu (default), cuda, ...")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test begins with the same global generators, whichever ran before it in this process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # it begins with the same seed itself
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest):
    """The torch device given by `--device`."""
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data and weights: `$FASTSKETCH_DATA`, by default `shared` beside the repository."""
    folder = Path(os.environ.get("FASTSKETCH_DATA", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data in {folder} (set FASTSKETCH_DATA)")
    return folder


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: what is flushed there is there at once."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def draw_shapes() -> Callable[..., Path]:
    """A function (folder, per_class=6, size=64) that fills `folder` with circles, crosses and squares."""

    def draw(folder: Path, per_class: int = 6, size: int = 64) -> Path:
        rng = np.random.default_rng(0)
        for name, shape in FOLDERS.items():
            (folder / name).mkdir(parents=True)
            for index in range(per_class):
                draw_shape(shape, rng, size).save(folder / name / f"{index:03d}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory, draw_shapes: Callable[..., Path]) -> Path:
    """An ImageFolder without splits: 3 classes of 20 drawn shapes at 64 px. Shared: do not write to it."""
    return draw_shapes(tmp_path_factory.mktemp("shapes"), per_class=20)


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 sketches of six classes, of every kind that `convert` reads; in a folder of the module's own."""
    from trained import write_sketches

    return write_sketches(tmp_path_factory.mktemp("work") / "sketches")


@pytest.fixture(scope="module")
def data(sketches: Path) -> DatasetMetadata:
    """The same, converted into `data` beside them."""
    from trained import convert_sketches

    return convert_sketches(sketches, sketches.parent / "data")


@pytest.fixture(scope="module")
def run(sketches: Path, data: DatasetMetadata) -> Run:
    """A small CNN of random weights, as training on them would have left it."""
    from trained import MODELS, make_run

    return make_run(sketches.parent / "run", data, sketches.parent / "data", **MODELS["cnn"])


@pytest.fixture
def damaged(shapes: Path, tmp_path: Path) -> Path:
    """A copy of the shapes, of which three images cannot be read."""
    folder = shutil.copytree(shapes, tmp_path / "damaged")
    (folder / "circle/003.png").write_bytes(b"no image")
    (folder / "square/000.png").write_bytes((folder / "square/000.png").read_bytes()[:80])
    (folder / "square/019.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def run_fastsketch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function (*arguments, cwd=None) that runs `python -m fastsketch ARGUMENTS...` in a process of its own."""
    import forked

    return forked.run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test draws, in order, to be asked where everything lies."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, *arguments: object, **options: object) -> None:
        save(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures
