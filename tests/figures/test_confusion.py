from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fastsketch.figures.confusion import plot_confusion, ranked_pairs


def confusion_of(classes: int, images: int = 10, seed: int = 0) -> npt.NDArray[np.int64]:
    """Classes of which each image is taken for its own class or one near it."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for true in range(classes):
        for taken in (true + rng.geometric(0.5, images) - 1) % classes:
            matrix[true, taken] += 1
    return matrix


def labels(figure: Figure, panel: int, axis: str) -> list[str]:
    axes = figure.axes[panel]
    return [tick.get_text() for tick in (axes.get_xticklabels() if axis == "x" else axes.get_yticklabels())]


def test_pairs_are_all_errors_in_order() -> None:
    confusion = np.array([[5, 1, 4], [4, 0, 0], [0, 2, 0]])
    assert ranked_pairs(confusion) == [(1, 0, 4), (0, 2, 4), (2, 1, 2), (0, 1, 1)]
    assert ranked_pairs(np.diag([3, 4])) == []


@pytest.mark.parametrize("classes", [2, 26, 60])
def test_a_few_classes_are_all_there(tmp_path: Path, drawn: list[Figure], classes: int) -> None:
    names = [f"class {index}" for index in range(classes)]
    plot_confusion(tmp_path / "x.png", confusion_of(classes), names, "a run")
    assert labels(drawn[0], 0, "x") == labels(drawn[0], 0, "y") == names


@pytest.mark.parametrize("classes", [61, 250])
def test_of_many_classes_the_most_confused_are_named(tmp_path: Path, drawn: list[Figure], classes: int) -> None:
    names, confusion = [f"class {index}" for index in range(classes)], confusion_of(classes)
    confusion[7, 7], confusion[7, 40] = 0, 9
    plot_confusion(tmp_path / "x.png", confusion, names, "a run")
    [figure] = drawn
    listed = labels(figure, 0, "y")
    assert listed[0] == "class 7 → class 40"
    assert len(listed) == 36
    counts = [int(text.get_text().split()[0]) for text in figure.axes[0].texts]
    assert counts == sorted(np.sort((confusion - np.diag(confusion.diagonal())).ravel())[-36:], reverse=True)
    assert labels(figure, 1, "x")[:2] == ["class 7", "class 40"]
    assert len(labels(figure, 1, "y")) == 32
    assert figure.axes[1].get_title() == f"the 32 most confused of {classes} classes"
    sizes = [tick.get_window_extent().height for tick in figure.axes[0].get_yticklabels()]
    places = sorted(tick.get_window_extent().y0 for tick in figure.axes[0].get_yticklabels())
    assert min(np.diff(places)) > 0.9 * max(sizes), "no line is written over another"


def test_many_classes_without_a_mistake(tmp_path: Path, drawn: list[Figure]) -> None:
    names = [str(index) for index in range(70)]
    plot_confusion(tmp_path / "x.png", np.eye(70, dtype=np.int64), names, "a run")
    assert drawn[0].axes[0].get_title() == "nothing was confused"


def test_an_empty_class_does_not_look_like_one_that_is_never_recognised(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion = np.array([[5, 0, 0], [0, 0, 0], [3, 0, 0]])
    plot_confusion(tmp_path / "x.png", confusion, ["cat", "dog", "owl"], "a run")
    axes = drawn[0].axes[0]
    assert labels(drawn[0], 0, "y") == ["cat", "dog (no images)", "owl"]
    assert {text.get_text() for text in axes.texts} == {"100"}
    picture = Image.open(tmp_path / "x.png").convert("RGB")
    colors = []
    for row in (1, 2):
        x, y = axes.transData.transform((1.0, row - 0.2))
        scale = picture.height / drawn[0].bbox.height
        colors.append(picture.getpixel((round(x * scale), picture.height - round(y * scale))))
    assert colors[0] == (230, 230, 230), "gray"
    assert colors[1] == (247, 251, 255), "the colour of 0 %"
