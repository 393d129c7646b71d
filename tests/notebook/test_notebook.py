"""The verbs as a notebook's reader would use them, in a real kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

SETTINGS = 'model="test_resnet", epochs=2, batch_size=4, lr=1e-3, device="cpu", augment__thickness=0.2'

CELLS = {
    "convert": """
import fastsketch
data = fastsketch.convert("images", "data", size=32, split="4/1/1", workers=1)
data""",
    "train": f'run = fastsketch.train(data, out="runs/first", {SETTINGS})\nrun',
    "evaluate": 'fastsketch.evaluate("runs/first", split="test", device="cpu")',
    "wrong": """
for call in (
    lambda: fastsketch.convert("images", "data", image_size=96),
    lambda: fastsketch.convert("images", "data", size=64),
    lambda: fastsketch.train(data, learning_rate=1),
    lambda: fastsketch.train(data, recipe="quik"),
    lambda: fastsketch.evaluate(run, chekpoint="last"),
):
    try:
        call()
    except fastsketch.FastSketchError as error:
        print(error)
""",
    "command": (
        "import sys\n!{sys.executable} -m fastsketch train data --out runs/second --model test_resnet --epochs 1"
        " --batch-size 4 --device cpu"
    ),
}
ORDER = ("convert", "convert", "train", "train", "evaluate", "wrong", "command")


@pytest.fixture(scope="module")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, draw_shapes: Callable[..., Path]
) -> list[list[dict[str, object]]]:
    """What each of the cells in ORDER gave, when all were run from the first to the last."""
    folder = tmp_path_factory.mktemp("notebook")
    draw_shapes(folder / "images")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS[name]) for name in ORDER])
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def text(outputs: list[dict[str, object]]) -> str:
    """All that a cell printed or displayed, as plain text; what has colors is shown as HTML."""
    shown = [each["data"] for each in outputs if "data" in each]
    displayed = [
        re.sub(r"\x1b\[[0-9;]*m", "" if "text/html" in data else r"\g<0>", data["text/plain"]) for data in shown
    ]
    return "\n".join([*(each["text"] for each in outputs if "text" in each), *displayed])


def result(outputs: list[dict[str, object]]) -> dict[str, object]:
    """What the last expression of a cell is shown as."""
    return next(each["data"] for each in outputs if each["output_type"] == "execute_result")


def test_a_cell_converts_and_converts_nothing_twice(outputs: list[list[dict[str, object]]]) -> None:
    first, again = text(outputs[0]), text(outputs[1])
    assert "18 images of 3 classes at 32 px (12 train, 3 val, 3 test), " in first
    assert "is there already" in again
    assert "18 images of 3 classes at 32 px (12 train, 3 val, 3 test)" in again
    assert "images/s" not in again
    assert result(outputs[0]) == result(outputs[1]) == {"text/plain": "PosixPath('data')"}


def test_a_cell_trains_and_returns_what_is_finished(outputs: list[list[dict[str, object]]]) -> None:
    first, again = text(outputs[2]), text(outputs[3])
    assert "run directory: runs/first" in first.splitlines()
    lines = [line.split()[0] for line in first.splitlines() if line.lstrip()[:1].isdigit()]
    assert lines == ["1", "2"]
    assert "is finished, 2 epochs" in again
    assert "epoch  train loss" not in again
    assert again.count("best val top-1") == first.count("best val top-1") == 1
    shown = result(outputs[3])
    assert shown["text/plain"] == "Run('runs/first')"
    assert shown["image/png"] == result(outputs[2])["image/png"]


def test_a_cell_evaluates(outputs: list[list[dict[str, object]]]) -> None:
    assert result(outputs[4])["text/plain"].startswith("Evaluation('runs/first', test: top-1 ")


def test_wrong_names_are_told_with_the_right_ones_in_words_of_python(outputs: list[list[dict[str, object]]]) -> None:
    said = text(outputs[5])
    assert "image_size: unknown key (did you mean size?)" in said
    assert "choose another folder, or replace it with overwrite=True" in said
    assert "learning_rate: unknown key (did you mean optimizer.lr?)" in said
    assert "no recipe or file 'quik'; did you mean 'quick'?" in said
    assert "evaluate has no setting 'chekpoint' (did you mean checkpoint?)" in said
    assert "pydantic" not in said


def test_the_command_in_a_cell_prints_plain_lines(outputs: list[list[dict[str, object]]]) -> None:
    said = text(outputs[6])
    assert "best val top-1" in said
    assert "\x1b" not in said
    assert "━" not in said


def test_nothing_is_printed_that_a_notebook_cannot_show(outputs: list[list[dict[str, object]]]) -> None:
    assert not [each for cell in outputs for each in cell if each.get("name") == "stderr"]
    assert [index for index, cell in enumerate(outputs) if "\x1b" in text(cell)] == []
