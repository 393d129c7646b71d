"""Where pictures go, and what is written in them: names that others chose, which are never taken for formulas."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastsketch import atomic
from fastsketch.errors import ConfigError, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")

MOST_LETTERS = 120
"""More of a name is never looked at."""


def check_picture(path: Path, *, dataset: Path | None = None) -> None:
    """Whether a picture can be written to `path`; to be asked before it is drawn. The folder is made.

    Args:
        path: Where it is to be.
        dataset: A data set, which keeps its folder to itself.

    Raises:
        ConfigError: It cannot.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: a picture of this kind cannot be written", hint="name a .png, .pdf or .svg file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is there already, and is no file", hint="choose another name")
    if dataset is not None:
        folder = dataset.resolve()
        if folder in path.resolve().parents or folder in (path.parent.resolve() / path.name).parents:
            raise ConfigError(f"{path} is within the data set, which pictures do not belong into")
    path.parent.mkdir(parents=True, exist_ok=True)


def caption(name: str, letters: int) -> str:
    """A name as it can stand in a picture: on one line, its end left out where it is long."""
    name = one_line(name[: 2 * letters])
    return name if len(name) <= letters else name[: letters - 1].rstrip() + "…"


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches that one line takes in letters of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return float(width) / 72


def fitted(name: str, size: float, width: float, weight: str = "normal") -> str:
    """A name as `caption` makes it, cut off where it would take more than `width` inches."""
    letters = bisect_right(
        range(1, MOST_LETTERS + 1), width, key=lambda count: text_width(caption(name, count), size, weight)
    )
    return caption(name, max(letters, 1))


@contextmanager
def plain_letters() -> Iterator[None]:
    """Make and save figures within this: `$` is a dollar, and a letter that the font lacks is an empty box."""
    import logging
    import warnings

    from matplotlib import rc_context

    noise = logging.getLogger("matplotlib")
    before = noise.level
    noise.setLevel(logging.ERROR)
    try:
        with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        noise.setLevel(before)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Draw `figure` into `path`, atomically; the suffix says in which format."""
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
