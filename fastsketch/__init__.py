"""fastsketch: the fastest way to fine-tune an image classifier on sketches.

    import fastsketch

    fastsketch.convert_dataset(fastsketch.open_source(raw), data, fastsketch.ConvertConfig(size=224))
    recipe = fastsketch.load_recipe("quick", data__path=data)
    run = fastsketch.Run(folder)
    fastsketch.fit(recipe, run)
    fastsketch.evaluate_run(run, "test").scores.top1

Names are imported when they are first used, so that `import fastsketch` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastsketch.augment import SketchAugment as SketchAugment
    from fastsketch.config import ConvertConfig as ConvertConfig
    from fastsketch.config import Recipe as Recipe
    from fastsketch.conversion import convert_dataset as convert_dataset
    from fastsketch.errors import FastSketchError as FastSketchError
    from fastsketch.evaluation import evaluate_run as evaluate_run
    from fastsketch.recipes import load_recipe as load_recipe
    from fastsketch.sources import open_source as open_source
    from fastsketch.training.fit import fit as fit
    from fastsketch.training.run.directory import Run as Run

__version__ = "0.1.0"

_HOMES = {
    "ConvertConfig": "fastsketch.config",
    "FastSketchError": "fastsketch.errors",
    "Recipe": "fastsketch.config",
    "Run": "fastsketch.training.run.directory",
    "SketchAugment": "fastsketch.augment",
    "convert_dataset": "fastsketch.conversion",
    "evaluate_run": "fastsketch.evaluation",
    "fit": "fastsketch.training.fit",
    "load_recipe": "fastsketch.recipes",
    "open_source": "fastsketch.sources",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fastsketch' has no attribute '{name}'")
