"""What `bench gpu` does with its parts; that the parts do what they should is a slow test, of the notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision")

from fastsketch_benchmarks import gpu
from fastsketch_benchmarks.gpu_bench import Bench


def first(bench: Bench) -> dict[str, Any]:
    """The first."""
    bench.row("what", "1 image/s")
    return {"figure": 1}


def breaks(bench: Bench) -> dict[str, Any]:
    """Cannot be done here."""
    bench.left_out.append("half of it")
    raise RuntimeError("CUDA error: no kernel image\nand a page of advice")


def last(bench: Bench) -> dict[str, Any]:
    """Comes after all."""
    [written] = bench.root.parent.glob("results/*.json")
    before = json.loads(written.read_text())
    return {"seen": list(before["parts"])}


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
    assert parts["last"]["left_out"] == []


def test_what_is_done_is_written_before_the_next_begins(record: dict[str, Any]) -> None:
    assert record["parts"]["last"]["seen"] == ["first", "breaks"]


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    bench = Bench(gpu.resolve_device("cpu"), quick=False, root=tmp_path, deadline=0.0)
    assert not bench.has_time("ViT-B", 1.0)
    assert bench.left_out == ["ViT-B"]
