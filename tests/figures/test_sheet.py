from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fastsketch.figures.picture import fitted, text_width
from fastsketch.figures.sheet import Cell, Row, draw_sheet, in_rows

BLANK = np.full((8, 8), 255, dtype=np.uint8)


@pytest.mark.parametrize("count", range(1, 49))
def test_no_row_is_half_empty(count: int) -> None:
    cells = [Cell(BLANK, [str(index)]) for index in range(count)]
    rows = in_rows(cells)
    assert [cell for row in rows for cell in row.cells] == cells
    columns = len(rows[0].cells)
    assert all(len(row.cells) == columns for row in rows[:-1])
    assert 2 * len(rows[-1].cells) > columns
    assert columns <= 9


def test_of_nothing_there_are_no_rows(tmp_path: Path) -> None:
    assert in_rows([]) == []
    draw_sheet(tmp_path / "x.png", [], "nothing")
    assert np.asarray(Image.open(tmp_path / "x.png").convert("L")).min() < 128, "the title is there"


@pytest.mark.parametrize("text", ["cat", "W" * 200, "i" * 200, "a name of several words, of which some are left out"])
@pytest.mark.parametrize("width", [0.3, 1.25, 4.0])
def test_a_name_is_as_long_as_fits(text: str, width: float) -> None:
    short = fitted(text, 7, width)
    assert text_width(short, 7) <= width
    assert short == text or short.endswith("…")
    if short != text:
        letters = len(short)
        longer = text[:letters] + "…"
        assert letters == 120 or text_width(longer, 7) > width - 0.1, "not much shorter than need be"


@pytest.mark.parametrize("count", [1, 3, 8])
def test_nothing_overlaps_and_nothing_leaves_the_picture(tmp_path: Path, drawn: list[Figure], count: int) -> None:
    wide = ["W" * 60, "λ 0.51 " + "M" * 40]
    rows = [
        Row([Cell(BLANK, wide)] * count, "all\ntogether"),
        Row([Cell(BLANK, ["short", ""])] * count, "a technique of some name"),
        Row([Cell(BLANK)] * (count - 1) + [Cell(BLANK, wide)]),
    ]
    draw_sheet(tmp_path / "x.png", rows, "W" * 500, legend={"seen": "#ffffff"})
    [figure] = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    assert len(boxes) == 1 + 2 + 3 * count + 2 * count + count + 2 + 1
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_pictures_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Gray values of both kinds, colours, and marks over them."""
    gray = np.full((16, 16), 51, dtype=np.uint8)
    color = np.broadcast_to(np.array([0.2, 0.4, 0.6]), (16, 16, 3))
    marked = Cell(np.ones((16, 16)), mark=lambda axes: axes.axhspan(-1, 20, color=(1, 0, 0)))
    draw_sheet(tmp_path / "x.png", [Row([Cell(gray), Cell(gray / 255), Cell(color), marked])], "", side=1.0)
    sheet = Image.open(tmp_path / "x.png").convert("RGB")
    middles = [sheet.getpixel((round(150 * (0.15 + 0.5 + index * 1.1)), round(150 * 1.0))) for index in range(4)]
    assert middles == [(51, 51, 51), (51, 51, 51), (51, 102, 153), (255, 0, 0)]
