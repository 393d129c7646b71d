from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import fastsketch_benchmarks
import pytest
from fastsketch_cli.bench import SHARED

Run = Callable[..., CompletedProcess[str]]

MODULES = {module.name for module in pkgutil.iter_modules(fastsketch_benchmarks.__path__)}


@pytest.mark.parametrize("name", sorted(MODULES - set(SHARED)))
def test_all_that_is_listed_can_be_run(name: str) -> None:
    if name == "augment":
        pytest.importorskip("torchvision")
    module = importlib.import_module(f"fastsketch_benchmarks.{name}")
    assert list(inspect.signature(module.run).parameters) == ["out", "quick"]


def test_what_is_shared_is_there_and_no_benchmark() -> None:
    assert set(SHARED) <= MODULES
    for name in SHARED:
        source = Path(fastsketch_benchmarks.__path__[0], f"{name}.py").read_text(encoding="utf-8")
        assert "\ndef run(out" not in source


def test_results_lie_in_the_working_directory_by_default(run_fastsketch: Run, tmp_path: Path) -> None:
    done = run_fastsketch("bench", "costs", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results: costs.json" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


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
