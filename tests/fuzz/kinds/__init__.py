"""The generators, and how many of 10,000 cases each has."""

from __future__ import annotations

from fuzz.kinds import datasets, drawings, formats, images, lists, names, options, recipes, runs, weights
from fuzz.suite import Generator

KINDS: dict[str, tuple[int, Generator]] = {
    "images": (2600, images.case),
    "drawings": (1300, drawings.case),
    "lists": (700, lists.case),
    "recipes": (1400, recipes.case),
    "datasets": (1200, datasets.case),
    "runs": (900, runs.case),
    "formats": (350, formats.case),
    "weights": (450, weights.case),
    "names": (200, names.case),
    "options": (900, options.case),
}
