"""The quickstart notebook runs from its first cell to its last, and is committed without what it gave somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import DOCS
from PIL import Image

NOTEBOOK = DOCS / "quickstart.ipynb"


def cells() -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


def test_it_is_committed_without_outputs() -> None:
    assert [(cell.outputs, cell.execution_count) for cell in cells()] == [([], None)] * len(cells())


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=folder).execute()
    printed = "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    [top1] = re.findall(r"^top-1 ([\d.]+)%", printed, re.MULTILINE)
    assert float(top1) > 70  # 90.4 where it was written
    looks = re.findall(r"^(\w[\w ]*?) +looks like (\w[\w ]*?) +\(", printed, re.MULTILINE)
    assert len(looks) == 8
    assert sum(drawn == seen for drawn, seen in looks) >= 5  # plain timm sees what `evaluate` sees
    with Image.open(tmp_path / "quickstart/run/plots/curves.png") as curves:
        assert curves.width > 300
