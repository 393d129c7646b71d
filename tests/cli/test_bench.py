from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import fastsketch_benchmarks
import pytest
import torch
from fastsketch_benchmarks import verification
from fastsketch_cli.bench import SHARED
from fastsketch_cli.commands import app
from typer.testing import CliRunner

Run = Callable[..., CompletedProcess[str]]

MODULES = {module.name for module in pkgutil.iter_modules(fastsketch_benchmarks.__path__)}


@pytest.mark.parametrize("name", sorted(MODULES - set(SHARED)))
def test_all_that_is_listed_can_be_run(name: str) -> None:
    if name in ("augment", "gpu"):
        pytest.importorskip("torchvision")
    module = importlib.import_module(f"fastsketch_benchmarks.{name}")
    assert list(inspect.signature(module.run).parameters) == ["out", "quick", *(["device"] if name == "gpu" else [])]


def test_what_is_shared_is_there_and_no_benchmark() -> None:
    assert set(SHARED) <= MODULES
    for name in SHARED:
        source = Path(fastsketch_benchmarks.__path__[0], f"{name}.py").read_text(encoding="utf-8")
        assert "\ndef run(out" not in source


def test_results_lie_in_the_working_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a benchmark writes; what each of them does is a slow test of its own."""

    def run(out: Path, *, quick: bool) -> Path:
        (path := out / "verification-quick.json").write_text(json.dumps(quick))
        return path

    monkeypatch.setattr(verification, "run", run)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["bench", "verification", "--quick"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "results: verification-quick.json\n"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["true"]


def test_an_unknown_benchmark_is_told_with_those_there_are(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "sixty_lines", cwd=tmp_path)
    assert done.returncode == 2
    assert "no benchmark 'sixty_lines'" in done.stderr
    assert "ablation" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_told_before_anything_is_measured(run_fastsketch: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_fastsketch("bench", "train", "--out", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 2
    assert "file" in done.stderr


def test_without_a_gpu_its_benchmark_says_so_in_one_line(run_fastsketch: Run, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    pytest.importorskip("torchvision")
    done = run_fastsketch("bench", "gpu", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: there is no GPU here"
    assert "--device cpu --quick" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_device_is_the_gpu_benchmarks_alone(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "train", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "'train' chooses its device itself" in done.stderr
