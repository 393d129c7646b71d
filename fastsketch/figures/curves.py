"""The course of a training: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fastsketch.figures.picture import caption, plain_letters, save_figure

if TYPE_CHECKING:
    from fastsketch.training.run.metrics import EpochRecord

TITLE_LETTERS = 80
"""So many of a title are written."""

SQUASHING = 1.5
"""An axis of losses that would have to be so many times as high because of the first epochs alone is cut off."""


@plain_letters()
def plot_curves(path: Path, records: Sequence[EpochRecord], title: str, *, resumed: Sequence[float] = ()) -> None:
    """Draw the records as one picture; epochs that were not validated leave a gap.

    Args:
        path: Replaced if it is there; its suffix says in which format.
        records: Of the epochs 1 to n.
        title: Above all.
        resumed: Where the training was continued, in epochs done by then, such as 2.5.
    """
    validated = [record for record in records if record.val_top1 is not None]
    figure = Figure(figsize=(12.5 if validated else 8.5, 3.9), layout="constrained")
    figure.suptitle(caption(title, TITLE_LETTERS))
    panels = figure.subplots(1, 3 if validated else 2, squeeze=False)[0]
    _draw_loss(panels[0], records, len(validated) > 0)
    if validated:
        _draw_accuracy(panels[1], records, max(validated, key=lambda record: record.val_top1 or 0.0))
    panels[-1].plot([record.epoch for record in records], [record.lr for record in records], ".-", color="C2")
    panels[-1].set_ylim(bottom=0)
    panels[-1].ticklabel_format(axis="y", scilimits=(-3, 3), useMathText=False)
    _name(panels[-1], "learning rate")
    marks = [epoch for epoch in resumed if 0 < epoch <= len(records)]
    for axes in panels:
        _finish(axes, marks, len(records))
    save_figure(figure, path, dpi=130)


def _draw_loss(axes: Axes, records: Sequence[EpochRecord], validated: bool) -> None:
    epochs, train = [record.epoch for record in records], [record.train_loss for record in records]
    axes.plot(epochs, train, ".-", label="train (augmented)")
    if validated:
        axes.plot(epochs, _or_gap(record.val_loss for record in records), ".-", label="val")
    top, highest = axis_top(records)
    if highest is not None:
        axes.set_ylim(top=top)
        note = f"epoch {highest.epoch}: val {highest.val_loss:.1f}, above the axis"
        axes.annotate(note, (0.98, 0.98), xycoords="axes fraction", ha="right", va="top", fontsize=8, color="C1")
    _name(axes, "cross-entropy")


def axis_top(records: Sequence[EpochRecord]) -> tuple[float, EpochRecord | None]:
    """How high an axis of the losses is to be, and the record that is furthest above it, if any is.

    Batch normalisation knows no statistics yet in a short training's first epochs: validation losses of several times
    the training loss there would squash all that follows.
    """
    losses = [(record.val_loss, record) for record in records if record.val_loss is not None]
    settled = [loss for loss, _ in losses[len(losses) // 2 :]]
    top = max([record.train_loss for record in records] + settled, default=0.0)
    loss, highest = max(losses, key=lambda each: each[0], default=(0.0, None))
    if loss <= SQUASHING * top:
        return 1.05 * max(loss, top), None
    return 1.12 * top, highest


def _draw_accuracy(axes: Axes, records: Sequence[EpochRecord], best: EpochRecord) -> None:
    epochs = [record.epoch for record in records]
    axes.plot(epochs, _or_gap(record.val_top5 for record in records), ".-", color="C1", alpha=0.4, label="val top-5")
    axes.plot(epochs, _or_gap(record.val_top1 for record in records), ".-", color="C1", label="val top-1")
    assert best.val_top1 is not None
    axes.plot(best.epoch, best.val_top1, "o", color="C1")
    low, high = axes.get_ylim()
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    low, high = max(low, -0.04 * min(high, 1)), min(high, 1 + 0.04 * (1 - max(low, 0)))  # no shares below 0 or above 1
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.1 else 1))
    # No top-1 lies above the best; where top-5 is close above, the number goes below.
    above = best.val_top5 is not None and best.val_top5 - best.val_top1 > 0.2 * (high - low)
    axes.annotate(
        f"{best.val_top1:.1%}",
        (best.epoch, best.val_top1),
        (0, 8 if above else -8),
        textcoords="offset points",
        ha="left" if best.epoch < (epochs[0] + epochs[-1]) / 2 else "right",
        va="bottom" if above else "top",
        color="C1",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
    )
    _name(axes, "accuracy")


def _or_gap(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _name(axes: Axes, title: str) -> None:
    """A title, and between it and the panel what the lines are: there is no data there."""
    axes.set_title(title, pad=22)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, borderaxespad=0, fontsize=9)


def _finish(axes: Axes, resumed: Sequence[float], epochs: int) -> None:
    margin = 0.04 * (epochs - 1) or 0.5
    axes.set_xlim(min([1, *resumed]) - margin, epochs + margin)
    axes.set_xlabel("epoch (dotted: resumed)" if resumed else "epoch")
    for epoch in resumed:
        axes.axvline(epoch, color="0.5", linewidth=0.9, linestyle=":", zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
