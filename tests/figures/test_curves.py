from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fastsketch.figures.curves import axis_top, plot_curves
from fastsketch.training.run.metrics import EpochRecord


def record(epoch: int, top1: float | None, val_loss: float | None = None, train_loss: float = 0) -> EpochRecord:
    loss, top5 = (None, None) if top1 is None else (val_loss or 1 - top1, min(1.0, top1 + 0.2))
    return EpochRecord(epoch, epoch * 10, 1e-3, train_loss or 1 / epoch, loss, top1, top5, 1.0, 100.0)


def records(top1: list[float | None]) -> list[EpochRecord]:
    return [record(epoch, value) for epoch, value in enumerate(top1, 1)]


COURSES = pytest.mark.parametrize(
    "top1",
    [
        [0.2, 0.5, 0.4],
        [0.2, None, None],
        [0.0],
        [1.0, 1.0],
        [0.76, 0.77, 0.765],
        [0.99, 0.995, 0.992],
        [math.tanh(epoch / 20) for epoch in range(80)],
        [None, None],
    ],
    ids=[
        "validated",
        "validated at first",
        "never right",
        "always right",
        "much the same",
        "almost always right",
        "long",
        "not validated",
    ],
)


@COURSES
def test_curves_show_what_there_is(tmp_path: Path, drawn: list[Figure], top1: list[float | None]) -> None:
    path = tmp_path / "curves.png"
    plot_curves(path, records(top1), "a run")
    assert path.read_bytes().startswith(b"\x89PNG")
    [figure] = drawn
    found = [value for value in top1 if value is not None]
    panels = ["cross-entropy", "accuracy", "learning rate"] if found else ["cross-entropy", "learning rate"]
    assert [axes.get_title() for axes in figure.axes] == panels
    if found:
        assert [text.get_text() for text in figure.axes[1].texts] == [f"{max(found):.1%}"]


@COURSES
def test_labels_lie_within_the_axes_and_legends_beside_the_data(
    tmp_path: Path, drawn: list[Figure], top1: list[float | None]
) -> None:
    plot_curves(tmp_path / "x.png", records(top1), "a run", resumed=[0.5])
    [figure] = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        inside = axes.get_window_extent(renderer)
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            assert inside.x0 - 1 <= box.x0 <= box.x1 <= inside.x1 + 1
            assert inside.y0 - 1 <= box.y0 <= box.y1 <= inside.y1 + 1
        if legend := axes.get_legend():
            assert legend.get_window_extent(renderer).y0 >= inside.y1 - 1


@COURSES
def test_percentages_are_all_of_one_form(tmp_path: Path, drawn: list[Figure], top1: list[float | None]) -> None:
    plot_curves(tmp_path / "x.png", records(top1), "a run")
    if len(drawn[0].axes) < 3:
        return
    written = _ticks(drawn[0].axes[1])
    assert len(set(written)) == len(written) > 1
    assert len({"." in text for text in written}) == 1
    assert all(text.endswith("%") for text in written)
    assert not any(text.startswith(("−", "-")) or float(text[:-1]) > 100 for text in written)


def _ticks(axes: Axes) -> list[str]:
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return [label.get_text() for place, label in ticks if low <= place <= high]


def test_a_resume_is_marked_where_it_was(tmp_path: Path, drawn: list[Figure]) -> None:
    for resumed in ([], [1.5, 2.0], [0.5, 400.0]):
        plot_curves(tmp_path / "x.png", records([0.2, 0.5, 0.4]), "a run", resumed=resumed)
    marks = [
        [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]  # type: ignore[index]
        for figure in drawn
        for axes in figure.axes
    ]
    assert marks == [[]] * 3 + [[1.5, 2.0]] * 3 + [[0.5]] * 3, "and none beyond what was trained"
    assert [figure.axes[0].get_xlabel() for figure in drawn] == ["epoch"] + ["epoch (dotted: resumed)"] * 2


def test_first_epochs_squash_nothing(tmp_path: Path, drawn: list[Figure]) -> None:
    """Finding 16: the demo's validation loss begins at 8.5, where batch normalisation knows no statistics yet."""
    losses = [8.5, 5.0, 2.5, 1.5, 1.0, 0.8, 0.7, 0.6]
    demo = [record(epoch, 0.1 * epoch, loss, 3 / epoch) for epoch, loss in enumerate(losses, 1)]
    assert axis_top(demo) == (pytest.approx(3.36), demo[0])
    plot_curves(tmp_path / "x.png", demo, "a run")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[1] == pytest.approx(3.36)
    assert [text.get_text() for text in axes.texts] == ["epoch 1: val 8.5, above the axis"]


@pytest.mark.parametrize(
    ("val", "train"),
    [
        ([2.0, 1.5, 1.2], [2.5, 2.0, 1.5]),
        ([1.0, 2.0, 9.0], [2.0, 1.0, 0.1]),
        ([None, None], [3.0, 2.0]),
        ([8.5], [3.0]),
    ],
    ids=["falling", "overfitting", "not validated", "one epoch"],
)
def test_other_losses_are_shown_whole(val: list[float | None], train: list[float]) -> None:
    course = [
        record(epoch, None if loss is None else 0.5, loss, other)
        for epoch, (loss, other) in enumerate(zip(val, train, strict=True), 1)
    ]
    top, highest = axis_top(course)
    assert highest is None
    assert top > max(loss for loss in (*val, *train) if loss is not None)
