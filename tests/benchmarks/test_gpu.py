"""What `bench gpu` does with its parts; that the parts do what they should is a slow test, of the notebook."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import timm

pytest.importorskip("torchvision")

from fastsketch_benchmarks import epochs, gpu
from fastsketch_benchmarks.gpu_bench import Bench

from fastsketch.recipes import load_recipe


def first(bench: Bench) -> None:
    """The first."""
    bench.row("what", "1 image/s")
    bench.found["figure"] = 1


def breaks(bench: Bench) -> None:
    """Cannot be done here."""
    bench.left_out.append("half of it")
    bench.found["so far"] = 2
    raise RuntimeError("CUDA error: no kernel image\nand a page of advice")


def last(bench: Bench) -> None:
    """Comes after all."""
    [written] = bench.root.parent.glob("results/*.json")
    before = json.loads(written.read_text())
    bench.found["seen"] = list(before["parts"])


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setattr(gpu, "PARTS", ((1, first), (1, breaks), (1, last)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = gpu.run(tmp_path / "results", quick=True, device="cpu")
    assert path.name == "gpu-cpu-quick.json"
    assert path.with_suffix(".md").read_text() == "| cpu | |\n|---|---|\n| what | 1 image/s |\n"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_part_that_fails_is_recorded_with_its_reason_and_the_rest_goes_on(record: dict[str, Any]) -> None:
    parts = record["parts"]
    assert [parts[name]["status"] for name in ("first", "breaks", "last")] == [
        "done",
        "failed: RuntimeError: CUDA error: no kernel image",
        "done",
    ]
    assert parts["first"]["figure"] == 1
    assert parts["breaks"]["left_out"] == ["half of it"]
    assert parts["breaks"]["so far"] == 2
    assert parts["last"]["left_out"] == []


def test_what_is_done_is_written_before_the_next_begins(record: dict[str, Any]) -> None:
    assert record["parts"]["last"]["seen"] == ["first", "breaks"]


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    bench = Bench(gpu.resolve_device("cpu"), quick=False, root=tmp_path, deadline=0.0)
    assert not bench.has_time("ViT-B", 1.0)
    assert bench.left_out == ["ViT-B"]


def test_the_sixty_lines_are_given_a_name_that_timm_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """`vit_small` is our name; `--quick` uses timm's own."""
    names: list[str] = []
    monkeypatch.setattr(epochs, "SixtyLines", lambda folder, name, *_: names.append(name))
    recipe = load_recipe("report-4-thickness")
    task = SimpleNamespace(recipe=recipe, dataset=SimpleNamespace(size=224), compiled=False)
    task.batch = task.device = task.precision = None
    epochs.sixty_lines(cast(Any, task), cast(Any, SimpleNamespace(folder=None)))
    assert names == ["vit_small_patch16_224"]
    assert timm.is_model(*names)
