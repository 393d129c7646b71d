"""Which classes are taken for which: the whole matrix of a few classes, the most confused part of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fastsketch.figures.picture import caption, plain_letters, save_figure

MOST_CLASSES = 60
"""A matrix of more classes than this cannot be read."""

PAIRS = 36
"""So many of the most frequent confusions are listed in its place."""

PART = 32
"""Classes of its most confused part, which is drawn beside the list."""

MOST_NUMBERS = 32
"""In a matrix of no more classes than this each share is written into its field."""

LEAST_SHARE = 0.005
"""Smaller shares would be written as 0."""

NAME_LETTERS = 30
TITLE_LETTERS = 80
"""So many of a class's name and of a title are written."""

EMPTY = "0.9"
"""The gray of a row whose class has no images: its shares are no zeros."""


class Pair(NamedTuple):
    """Images of one class that were taken for another: the labels, and how many."""

    true: int
    predicted: int
    images: int


@plain_letters()
def plot_confusion(path: Path, confusion: npt.NDArray[np.int64], names: Sequence[str], title: str) -> None:
    """Draw a confusion matrix, each row as shares of its true class; of many classes, the most frequent confusions.

    Args:
        path: Replaced if it is there; its suffix says in which format.
        confusion: int64 [C, C], true classes in rows.
        names: Of the classes.
        title: Above all.
    """
    labels = [caption(name, NAME_LETTERS) for name in names]
    title = caption(title, TITLE_LETTERS)
    if len(names) <= MOST_CLASSES:
        figure = _whole(confusion, labels, title)
    else:
        figure = _most_confused(confusion, labels, title)
    save_figure(figure, path, dpi=130)


def ranked_pairs(confusion: npt.NDArray[np.int64]) -> list[Pair]:
    """All confusions, the most frequent first, then those of a class with fewer images."""
    errors = confusion - np.diag(confusion.diagonal())
    images = confusion.sum(axis=1)
    pairs = [Pair(int(true), int(predicted), int(errors[true, predicted])) for true, predicted in np.argwhere(errors)]
    return sorted(pairs, key=lambda pair: (-pair.images, images[pair.true], pair))


def _whole(confusion: npt.NDArray[np.int64], labels: list[str], title: str) -> Figure:
    side = 4 + 0.2 * len(labels)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = _draw_matrix(axes, confusion, np.arange(len(labels)), labels)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1, decimals=0), label="share of the true class")
    return figure


def _most_confused(confusion: npt.NDArray[np.int64], labels: list[str], title: str) -> Figure:
    pairs = ranked_pairs(confusion)
    figure = Figure(figsize=(17, 9), layout="constrained")
    figure.suptitle(title)
    bars, matrix = figure.subplots(1, 2, width_ratios=(1, 2))
    _draw_pairs(bars, confusion, pairs[:PAIRS], labels)
    chosen = _classes_of(pairs)
    image = _draw_matrix(matrix, confusion, chosen, labels)
    matrix.set_title(f"the {len(chosen)} most confused of {len(labels)} classes", fontsize=11)
    figure.colorbar(
        image, ax=matrix, shrink=0.8, format=PercentFormatter(1, decimals=0), label="share of the true class"
    )
    return figure


def _classes_of(pairs: list[Pair]) -> npt.NDArray[np.int64]:
    """The labels of the first pairs, `PART` at most, each beside the one that it is confused with."""
    chosen: list[int] = []
    for pair in pairs:
        chosen += [label for label in (pair.true, pair.predicted) if label not in chosen]
        if len(chosen) >= PART:
            break
    return np.array(chosen[:PART], dtype=np.int64)


def _draw_pairs(axes: Axes, confusion: npt.NDArray[np.int64], pairs: list[Pair], labels: list[str]) -> None:
    counts = [pair.images for pair in pairs]
    axes.barh(range(len(pairs)), counts, color="C0", alpha=0.75, height=0.7)
    written = [f"{labels[pair.true]} → {labels[pair.predicted]}" for pair in pairs]
    axes.set_yticks(range(len(pairs)), written, fontsize=8)
    axes.set_ylim(PAIRS - 0.4, -0.6)
    for position, pair in enumerate(pairs):
        images = confusion[pair.true].sum()
        axes.annotate(
            f"{pair.images:,} of {images:,}", (pair.images, position), (3, 0), textcoords="offset points", va="center",
            fontsize=7, color="0.3",
        )  # fmt: skip
    axes.set_xlim(0, 1.25 * max(counts, default=1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_title("most frequent: true → taken for" if pairs else "nothing was confused", fontsize=11)
    axes.set_xlabel("images")
    axes.tick_params("y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_matrix(
    axes: Axes, confusion: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], labels: list[str]
) -> AxesImage:
    """The rows and columns of the `chosen` labels, as shares of the whole class; a class without images is gray."""
    images = confusion.sum(axis=1)[chosen]
    shares = np.full((len(chosen), len(chosen)), np.nan)
    np.divide(confusion[np.ix_(chosen, chosen)], images[:, None], out=shares, where=images[:, None] > 0)
    axes.set_facecolor(EMPTY)
    image = axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [labels[label] for label in chosen]
    axes.set_xticks(range(len(chosen)), names, rotation=90, fontsize=8)
    rows = [name if count else f"{name} (no images)" for name, count in zip(names, images, strict=True)]
    axes.set_yticks(range(len(chosen)), rows, fontsize=8)
    axes.set(xlabel="taken for", ylabel="true")
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(chosen) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(chosen) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.93", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if len(chosen) <= MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share >= LEAST_SHARE:
                color = "white" if share > 0.55 else "0.25"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=color)
    return image
