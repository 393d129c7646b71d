from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from fastsketch.figures.curves import plot_curves
from fastsketch.training.run.metrics import EpochRecord


def record(epoch: int, top1: float | None) -> EpochRecord:
    loss, top5 = (None, None) if top1 is None else (1 - top1, min(1.0, top1 + 0.2))
    return EpochRecord(epoch, epoch * 10, 1e-3, 1 / epoch, loss, top1, top5, 1.0, 100.0)


@pytest.mark.parametrize(
    ("top1", "panels"),
    [
        ([0.2, 0.5, 0.4], ["cross-entropy", "accuracy", "learning rate"]),
        ([0.2, None, None], ["cross-entropy", "accuracy", "learning rate"]),
        ([0.0], ["cross-entropy", "accuracy", "learning rate"]),
        ([None, None], ["cross-entropy", "learning rate"]),
    ],
    ids=["validated", "validated at first", "never right", "not validated"],
)
def test_curves_show_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top1: list[float | None], panels: list[str]
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    path = tmp_path / "curves.png"
    plot_curves(path, [record(epoch, value) for epoch, value in enumerate(top1, 1)], "a run")
    assert path.read_bytes().startswith(b"\x89PNG")
    [figure] = figures
    assert [axes.get_title() for axes in figure.axes] == panels
    if "accuracy" in panels:
        best = max(value for value in top1 if value is not None)
        assert [text.get_text() for text in figure.axes[1].texts] == [f"{best:.1%}"]
