"""A picture of what a vision transformer with ink tokens sees: kept patches over sketches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from fastsketch.figures.sheet import Cell, Row, draw_sheet

if TYPE_CHECKING:
    from torch import Tensor

    from fastsketch.models.ink_tokens import Selection

COLORS = {
    "seen, with ink": ("#ffffff", "#111111"),
    "seen, to fill up": ("#cfe3f5", "#111111"),
    "blank, left out": ("#e4e4e2", "#a8a8a6"),
    "ink, left out": ("#fbd3b4", "#c8460c"),
}
"""What can become of a patch, each with the colours of its paper and its ink."""

SIDE = 1.55
"""Inches a picture."""


class TokenRow(NamedTuple):
    """Sketches and what is seen of them.

    Attributes:
        name: Written to the left; may have several lines.
        images: Gray values in [0, 1] [B, 1, S, S], paper = 1.
        selection: The patches of each.
        names: A line under each picture, above the one with the numbers.
    """

    name: str
    images: Tensor
    selection: Selection
    names: list[str]


def draw_tokens(path: Path, rows: Sequence[TokenRow], grid: tuple[int, int], title: str) -> None:
    """Draw the rows as one picture into `path`; its suffix says in which format.

    Args:
        path: Replaced if it is there.
        rows: Of any numbers of pictures.
        grid: Patches in a column and in a row.
        title: Above all.
    """
    papers = {name: paper for name, (paper, _) in COLORS.items()}
    draw_sheet(path, [Row(_cells(row, grid), row.name) for row in rows], title, side=SIDE, legend=papers)


def _cells(row: TokenRow, grid: tuple[int, int]) -> list[Cell]:
    cells = []
    for image, kept, inked, name in zip(row.images, *row.selection, row.names, strict=True):
        fates = _fates(kept, inked)
        colored = _colored(image[0].numpy(), fates.reshape(grid))
        cells.append(Cell(colored, (name, _counts(fates)), partial(_draw_grid, grid)))
    return cells


def _fates(kept: Tensor, inked: Tensor) -> npt.NDArray[np.int64]:
    """What became of each patch of one image: int64 [N], an index into COLORS."""
    seen = np.zeros(len(inked), bool)
    seen[kept.numpy()] = True
    ink = inked.numpy()
    return np.select([seen & ink, seen, ~ink], [0, 1, 2], 3)


def _counts(fates: npt.NDArray[np.int64]) -> str:
    inked, _, _, lost = np.bincount(fates, minlength=len(COLORS))
    return f"{inked + lost} with ink" + (f", {lost} left out" if lost else "")


def _colored(image: npt.NDArray[np.float32], fates: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The whole patches of an image in their colours: [H, W, 3] in [0, 1]."""
    rows, columns = fates.shape
    height, width = image.shape[0] // rows, image.shape[1] // columns
    palette = np.array([[to_rgb(color) for color in pair] for pair in COLORS.values()])
    colors = palette[fates.repeat(height, 0).repeat(width, 1)]  # [H, W, paper or ink, 3]
    gray = image[: rows * height, : columns * width, None].clip(0, 1)
    mixed: npt.NDArray[np.float64] = colors[:, :, 0] * gray + colors[:, :, 1] * (1 - gray)
    return mixed


def _draw_grid(grid: tuple[int, int], axes: Axes) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    axes.hlines(np.linspace(top, bottom, grid[0] + 1)[1:-1], left, right, color="0.75", linewidth=0.25, alpha=0.6)
    axes.vlines(np.linspace(left, right, grid[1] + 1)[1:-1], top, bottom, color="0.75", linewidth=0.25, alpha=0.6)
