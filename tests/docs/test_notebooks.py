"""The notebooks run from their first cell to their last, and are committed without what they gave somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import DOCS
from PIL import Image

QUICKSTART = DOCS / "quickstart.ipynb"
ON_A_GPU = DOCS.parent / "benchmarks" / "t4.ipynb"


@pytest.mark.parametrize("path", [QUICKSTART, ON_A_GPU], ids=lambda path: path.stem)
def test_it_is_committed_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    return notebook


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path) -> None:
    notebook = executed(QUICKSTART, tmp_path)
    printed = "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    [top1] = re.findall(r"^top-1 ([\d.]+)%", printed, re.MULTILINE)
    assert float(top1) > 70  # 90.4 where it was written
    looks = re.findall(r"^(\w[\w ]*?) +looks like (\w[\w ]*?) +\(", printed, re.MULTILINE)
    assert len(looks) == 8
    assert sum(drawn == seen for drawn, seen in looks) >= 5  # plain timm sees what `evaluate` sees
    with Image.open(tmp_path / "quickstart/run/plots/curves.png") as curves:
        assert curves.width > 300


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_runs_without_one(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    executed(ON_A_GPU, tmp_path)
    [path] = tmp_path.glob("results/gpu-*.json")
    parts = json.loads(path.read_text())["parts"]
    assert list(parts) == ["parity", "loaders", "augmentation", "training", "ink_tokens", "end_to_end"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(parts, "done")
    assert path.with_suffix(".png").is_file()
    assert "images/s" in path.with_suffix(".md").read_text()
    assert (tmp_path / "run" / "last" / "model.safetensors").is_file()
