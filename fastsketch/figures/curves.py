"""Pictures of a run: the course of training, and which classes are taken for which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fastsketch.figures.picture import caption, plain_letters, save_figure
from fastsketch.training.run.metrics import EpochRecord, best_record

MOST_TICK_LABELS = 60
"""With more classes than this, their names would run into each other."""

NAME_LETTERS = 30
TITLE_LETTERS = 80
"""So many of a class's name and of a title are written."""


@plain_letters()
def plot_curves(path: Path, records: list[EpochRecord], title: str) -> None:
    """Loss, accuracy and learning rate over the epochs; those that were not validated leave a gap."""
    epochs = [record.epoch for record in records]
    best = best_record(records)
    figure = Figure(figsize=(12 if best else 8, 3.6), layout="constrained")
    figure.suptitle(caption(title, TITLE_LETTERS))
    panels = figure.subplots(1, 3 if best else 2)
    loss, rate = panels[0], panels[-1]
    loss.plot(epochs, [record.train_loss for record in records], label="train (augmented)")
    loss.set(title="cross-entropy", xlabel="epoch")
    if best is not None and best.val_top1 is not None:
        accuracy = panels[1]
        loss.plot(epochs, [record.val_loss for record in records], label="val")
        accuracy.plot(epochs, [record.val_top5 for record in records], color="C1", alpha=0.5, label="val top-5")
        accuracy.plot(epochs, [record.val_top1 for record in records], color="C1", label="val top-1")
        accuracy.plot(best.epoch, best.val_top1, "o", color="C1")
        accuracy.annotate(f"{best.val_top1:.1%}", (best.epoch, best.val_top1), (0, -14), textcoords="offset points")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        accuracy.set(title="accuracy", xlabel="epoch")
        accuracy.legend(frameon=False, loc="lower right")
    loss.legend(frameon=False)
    rate.plot(epochs, [record.lr for record in records], color="C2")
    rate.set(title="learning rate", xlabel="epoch")
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    save_figure(figure, path, dpi=130)


@plain_letters()
def plot_confusion(path: Path, confusion: npt.NDArray[np.int64], names: list[str], title: str) -> None:
    """The confusion matrix [C, C], each row as shares of its true class."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(5 + 0.16 * len(names), 16)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=caption(title, TITLE_LETTERS), xlabel="predicted", ylabel="true")
    if len(names) <= MOST_TICK_LABELS:
        labels = [caption(name, NAME_LETTERS) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), labels, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1), label="share of the true class")
    save_figure(figure, path, dpi=130)
