"""fastsketch: the fastest way to fine-tune an image classifier on sketches.

    import fastsketch

    data = fastsketch.convert("sketches", "data/sketches", size=224)
    run = fastsketch.train(data, recipe="quick", out="runs/first")
    fastsketch.evaluate(run, split="test").scores.top1
    fastsketch.load(run).predict("mine.png").labels

Each of these may be called again: what was broken off goes on, what is done is left as it is. Beneath them are
`convert_dataset`, `fit` and `evaluate_run`, which show nothing.

Names are imported when they are first used, so that `import fastsketch` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastsketch.version import __version__

if TYPE_CHECKING:
    from fastsketch.api import convert as convert
    from fastsketch.api import evaluate as evaluate
    from fastsketch.api import load as load
    from fastsketch.api import train as train
    from fastsketch.augment import SketchAugment as SketchAugment
    from fastsketch.config import ConvertConfig as ConvertConfig
    from fastsketch.config import Recipe as Recipe
    from fastsketch.conversion import convert_dataset as convert_dataset
    from fastsketch.errors import FastSketchError as FastSketchError
    from fastsketch.evaluation import evaluate_run as evaluate_run
    from fastsketch.inference.classifier import Classifier as Classifier
    from fastsketch.preprocess import Preprocess as Preprocess
    from fastsketch.recipes import load_recipe as load_recipe
    from fastsketch.sources import open_source as open_source
    from fastsketch.training.fit import fit as fit
    from fastsketch.training.run.directory import Run as Run


_HOMES = {
    "Classifier": "fastsketch.inference.classifier",
    "ConvertConfig": "fastsketch.config",
    "FastSketchError": "fastsketch.errors",
    "Preprocess": "fastsketch.preprocess",
    "Recipe": "fastsketch.config",
    "Run": "fastsketch.training.run.directory",
    "SketchAugment": "fastsketch.augment",
    "convert": "fastsketch.api",
    "convert_dataset": "fastsketch.conversion",
    "evaluate": "fastsketch.api",
    "evaluate_run": "fastsketch.evaluation",
    "fit": "fastsketch.training.fit",
    "load": "fastsketch.api",
    "load_recipe": "fastsketch.recipes",
    "open_source": "fastsketch.sources",
    "train": "fastsketch.api",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fastsketch' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
