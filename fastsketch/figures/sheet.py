"""One grid of pictures for all: names to the left of the rows, lines of text beneath the pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fastsketch.figures.picture import fitted, plain_letters, save_figure, text_width

LINE_COLORS = ("0.15", "0.45")
"""Of the first line under a picture and of the next."""

MOST_COLUMNS = 9

TITLE, NAME, LINE = 10.0, 9.0, 7.0
"""Sizes of the letters in points."""

GAP, MARGIN, LEADING = 0.1, 0.15, 0.125
"""Inches between pictures, around all, and from line to line."""

TOP, LEAST_WIDTH = 0.5, 4.5
"""Inches for the title: above the pictures, and from left to right."""


class Cell(NamedTuple):
    """One picture.

    Attributes:
        image: Gray [H, W] or colours [H, W, 3]; uint8 in 0 … 255 or float in [0, 1].
        lines: Text beneath it, each line cut off where it would be wider than the picture.
        mark: Draws over it, in pixels.
    """

    image: npt.NDArray[Any]
    lines: Sequence[str] = ()
    mark: Callable[[Axes], None] | None = None


class Row(NamedTuple):
    """Pictures side by side, and what is written to their left, which may have several lines."""

    cells: Sequence[Cell]
    name: str = ""


def in_rows(cells: Sequence[Cell]) -> list[Row]:
    """Pictures that belong to no row of their own in as many columns as leave the fewest places empty."""
    columns = len(cells)
    if columns > MOST_COLUMNS:
        columns = min(range(MOST_COLUMNS, MOST_COLUMNS // 2, -1), key=lambda number: -len(cells) % number)
    return [Row(cells[start : start + columns]) for start in range(0, len(cells), columns or 1)]


@plain_letters()
def draw_sheet(
    path: Path,
    rows: Sequence[Row],
    title: str,
    *,
    side: float = 1.25,
    line_colors: Sequence[str] = LINE_COLORS,
    legend: Mapping[str, str] | None = None,
) -> None:
    """Draw the rows as one picture into `path`; its suffix says in which format.

    Args:
        path: Replaced if it is there.
        rows: None leave the title alone.
        title: Above all.
        side: Inches a picture.
        line_colors: Of the lines under a picture; the last one is for all that follow.
        legend: What the colours in the pictures mean, by name.
    """
    names = max((text_width(line, NAME, "bold") for row in rows for line in row.name.split("\n")), default=0.0)
    left = MARGIN + (names + GAP if names else 0)
    columns, pitches = max((len(row.cells) for row in rows), default=0), [_pitch(row, side) for row in rows]
    width = max(left + columns * (side + GAP) - GAP + MARGIN, LEAST_WIDTH)
    height = TOP + sum(pitches) + (0.4 if legend else 0.05)
    figure = Figure(figsize=(width, height))

    title = fitted(title, TITLE, width - left - MARGIN)
    figure.text(left / width, 1 - MARGIN / height, title, fontsize=TITLE, color="0.25", ha="left", va="top")
    upper = height - TOP
    for row, pitch in zip(rows, pitches, strict=True):
        for column, cell in enumerate(row.cells):
            corner = (left + column * (side + GAP)) / width, (upper - side) / height
            axes = figure.add_axes((*corner, side / width, side / height))
            _draw_cell(axes, cell, side, line_colors)
        place = (left - GAP) / width, (upper - side / 2) / height
        figure.text(*place, row.name, fontsize=NAME, fontweight="bold", ha="right", va="center")
        upper -= pitch
    if legend:
        handles = [Patch(facecolor=color, edgecolor="0.6", linewidth=0.6) for color in legend.values()]
        place = (left / width, 0.05 / height)
        figure.legend(handles, list(legend), loc="lower left", bbox_to_anchor=place, ncols=len(legend),
                      frameon=False, fontsize=NAME, borderaxespad=0, borderpad=0, columnspacing=1.5)  # fmt: skip
    save_figure(figure, path)


def _pitch(row: Row, side: float) -> float:
    """Inches from the top of a row to that of the next."""
    lines = max(sum(bool(line) for line in cell.lines) for cell in row.cells)
    return side + LEADING * lines + 2 * GAP


def _draw_cell(axes: Axes, cell: Cell, side: float, colors: Sequence[str]) -> None:
    height, width = cell.image.shape[:2]
    largest = 255 if cell.image.dtype.kind == "u" else 1
    axes.imshow(cell.image, cmap="gray", vmin=0, vmax=largest, interpolation="antialiased", aspect="auto")
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.spines[:].set(color="0.8", linewidth=0.6)
    if cell.mark:
        cell.mark(axes)
    for number, line in enumerate(cell.lines):
        axes.text(
            0.5,
            -(0.04 + LEADING * number) / side,
            fitted(line, LINE, side + GAP / 2),
            transform=axes.transAxes,
            fontsize=LINE,
            color=colors[min(number, len(colors) - 1)],
            ha="center",
            va="top",
        )
