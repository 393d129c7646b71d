"""A picture of what a vision transformer with ink tokens sees: kept patches over sketches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from fastsketch.figures.picture import caption, plain_letters, save_figure
from fastsketch.models.ink_tokens import Selection

COLORS = {
    "seen, with ink": ("#ffffff", "#111111"),
    "seen, to fill up": ("#cfe3f5", "#111111"),
    "blank, left out": ("#e4e4e2", "#a8a8a6"),
    "ink, left out": ("#fbd3b4", "#c8460c"),
}
"""What can become of a patch, each with the colours of its paper and its ink."""

CELL = 1.55
"""Inches a picture."""

NAME_LETTERS = 20
"""So many letters of a class name fit under a picture."""

TITLE_LETTERS = 100


class TokenRow(NamedTuple):
    """Sketches and what is seen of them.

    Attributes:
        name: Written to the left; may have several lines.
        images: Gray values in [0, 1] [B, 1, S, S], paper = 1.
        selection: The patches of each.
        names: A line under each picture, above that with the numbers.
    """

    name: str
    images: Tensor
    selection: Selection
    names: list[str]


@plain_letters()
def draw_tokens(path: Path, rows: Sequence[TokenRow], grid: tuple[int, int], title: str) -> None:
    """Draw the rows as one picture into `path`; its suffix says in which format.

    Args:
        path: Replaced if it is there.
        rows: Of equally many pictures.
        grid: Patches in a column and in a row.
        title: Above all.
    """
    columns = len(rows[0].images)
    figure = Figure(figsize=(CELL * columns * 1.06 + 1.0, CELL * len(rows) * 1.26 + 0.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.03)  # type: ignore[union-attr, call-arg]
    figure.suptitle(caption(title, TITLE_LETTERS), fontsize=11, color="0.25")
    cells = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, cells, strict=True):
        for axes, image, kept, inked, name in zip(line, row.images, *row.selection, row.names, strict=True):
            fates = _fates(kept, inked)
            _draw_cell(axes, image[0].numpy(), fates.reshape(grid), _caption(name, fates))
        line[0].set_ylabel(row.name, fontsize=9, fontweight="bold", rotation=0, ha="right", va="center", labelpad=8)
    handles = [Patch(facecolor=paper, edgecolor="0.6", linewidth=0.6) for paper, _ in COLORS.values()]
    figure.legend(handles, list(COLORS), loc="outside lower center", ncols=len(COLORS), frameon=False, fontsize=9)
    save_figure(figure, path)


def _fates(kept: Tensor, inked: Tensor) -> npt.NDArray[np.int64]:
    """What became of each patch of one image: int64 [N], an index into COLORS."""
    seen = np.zeros(len(inked), bool)
    seen[kept.numpy()] = True
    ink = inked.numpy()
    return np.select([seen & ink, seen, ~ink], [0, 1, 2], 3)


def _caption(name: str, fates: npt.NDArray[np.int64]) -> str:
    inked, _, _, lost = np.bincount(fates, minlength=len(COLORS))
    return f"{caption(name, NAME_LETTERS)}\n{inked + lost} with ink" + (f", {lost} left out" if lost else "")


def _draw_cell(axes: Axes, image: npt.NDArray[np.float32], fates: npt.NDArray[np.int64], written: str) -> None:
    rows, columns = fates.shape
    height, width = image.shape[0] // rows, image.shape[1] // columns
    palette = np.array([[to_rgb(color) for color in pair] for pair in COLORS.values()])
    colors = palette[fates.repeat(height, 0).repeat(width, 1)]  # [H, W, paper or ink, 3]
    gray = image[: rows * height, : columns * width, None].clip(0, 1)
    axes.imshow(colors[:, :, 0] * gray + colors[:, :, 1] * (1 - gray), interpolation="antialiased")
    for position in range(1, rows):
        axes.axhline(position * height - 0.5, color="0.75", linewidth=0.25, alpha=0.6)
    for position in range(1, columns):
        axes.axvline(position * width - 0.5, color="0.75", linewidth=0.25, alpha=0.6)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="0.75", linewidth=0.6)
    axes.set_xlabel(written, fontsize=7, color="0.25", labelpad=3, linespacing=1.2)
